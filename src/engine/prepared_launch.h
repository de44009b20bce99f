// The launch of a loaded kernel with memory for its arguments: sizes follow the values of
// variables.
#pragma once

#include <vector>

#include "engine/compile.h"
#include "graph/evaluate.h"

namespace brisk {

class PreparedLaunch {
 public:
  /// `buffers` are the arguments' addresses, working memory last; header and program outlive this.
  PreparedLaunch(const KernelHeader& header, const Program& program, std::vector<void*> buffers,
                 std::vector<Node> variables);

  /// Whether nothing depends on variables.
  bool fixed() const { return variables_.empty(); }
  /// Sets what depends on variables; whether something is another than before.
  bool set(const Variables& given);
  /// As it was set last; refers to this.
  Launch launch() const;

 private:
  const KernelHeader* header_;
  const Program* program_;
  std::vector<void*> buffers_;
  std::vector<Node> variables_;
  std::vector<std::int64_t> values_;
  std::vector<std::int64_t> tasks_;
  std::vector<TileMap> tiles_;
};

}  // namespace brisk

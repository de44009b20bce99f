#include "engine/prepared_launch.h"

#include <utility>

namespace brisk {

PreparedLaunch::PreparedLaunch(const KernelHeader& header, const Program& program,
                               std::vector<void*> buffers, std::vector<Node> variables)
    : header_(&header),
      program_(&program),
      buffers_(std::move(buffers)),
      variables_(std::move(variables)) {
  if (fixed()) set({});
}

bool PreparedLaunch::set(const Variables& given) {
  bool changed = false;
  const auto put = [&](std::vector<std::int64_t>& list, std::size_t i, const Size& size) {
    if (list.size() <= i) list.resize(i + 1, -1);
    const std::int64_t before = list[i];
    list[i] = evaluate_size(size, given);
    changed |= list[i] != before;
  };
  for (std::size_t i = 0; i < variables_.size(); ++i) put(values_, i, Size(variables_[i]));
  for (std::size_t i = 0; i < header_->phase_tasks.size(); ++i)
    put(tasks_, i, header_->phase_tasks[i]);
  std::vector<TileMap> arrays;
  for (const TileView& view : header_->tiles) arrays.push_back(tile_map(view, given));
  changed |= arrays != tiles_;
  tiles_ = std::move(arrays);
  return changed;
}

Launch PreparedLaunch::launch() const {
  Launch launch;
  launch.program = program_;
  launch.buffers = buffers_;
  launch.variables = values_;
  launch.phase_tasks = tasks_;
  launch.phase_needs = header_->phase_needs;
  launch.tiles = tiles_;
  launch.scratch_bytes = static_cast<std::size_t>(header_->scratch_bytes);
  return launch;
}

}  // namespace brisk

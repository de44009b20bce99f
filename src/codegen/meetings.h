// Where threads of a group must meet: before a statement that touches what another thread may have
// done since they met last. Input: statements in their order, and the memory that they touch.
#pragma once

#include <unordered_set>

#include "graph/node.h"

namespace brisk {

/// Memory that threads of a group have in common (params, shared locals, and group_reduce
/// statements for what they exchange values through), by what is done to it.
struct SharedAccesses {
  std::unordered_set<Node, NodeHash> read, written;
  void add(const SharedAccesses& other);
  /// Whether one of the two writes what the other one touches.
  bool conflicts(const SharedAccesses& earlier) const;
};

SharedAccesses shared_accesses(const Node& statement);

/// Whether threads of a group have loops of their own in the statement, or meet in it; otherwise
/// each one runs all of it.
bool has_threads(const Node& statement);

/// What a group's threads did since they met.
class Meetings {
 public:
  /// Whether they must meet before they do this.
  bool wanted_before(const SharedAccesses& next) const { return next.conflicts(pending_); }
  void note(const SharedAccesses& done) { pending_.add(done); }
  void met() { pending_ = {}; }

  /// Around a statement that may run again, having begun with `before` pending, or not at all: what
  /// it leaves adds to what there was.
  template <typename Body>
  void around(const SharedAccesses& before, const Body& body) {
    const SharedAccesses outside = pending_;
    pending_.add(before);
    body();
    pending_.add(outside);
  }

 private:
  SharedAccesses pending_;
};

}  // namespace brisk

// Ctrl-C while text is made: the first asks the work to stop, a second ends the program at once.
#pragma once

namespace brisk {

/// Catches SIGINT as long as it lives; one at a time.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  bool requested() const;
  /// The request has been served; the next Ctrl-C counts as the first again.
  void clear();
};

}  // namespace brisk

#include "cli/interrupt.h"

#include <unistd.h>
#include <csignal>

namespace brisk {

namespace {

// What a signal handler may touch is of static storage.
volatile std::sig_atomic_t requests = 0;
struct sigaction before;

void on_interrupt(int) {
  requests = requests + 1;
  if (requests > 1) ::_exit(130);
}

}  // namespace

Interrupt::Interrupt() {
  requests = 0;
  struct sigaction action = {};
  action.sa_handler = on_interrupt;
  sigemptyset(&action.sa_mask);
  action.sa_flags = 0;  // without SA_RESTART: a wait for input ends too
  ::sigaction(SIGINT, &action, &before);
}

Interrupt::~Interrupt() { ::sigaction(SIGINT, &before, nullptr); }

bool Interrupt::requested() const { return requests > 0; }

void Interrupt::clear() { requests = 0; }

}  // namespace brisk

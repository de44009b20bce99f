#include "tensor/call.h"

namespace brisk {

namespace {
thread_local const char* current_call = nullptr;
}

Call::Call(const char* name) : outermost_(current_call == nullptr) {
  if (outermost_) current_call = name;
}
Call::~Call() {
  if (outermost_) current_call = nullptr;
}
const char* Call::current() { return current_call == nullptr ? "" : current_call; }

}  // namespace brisk

#include "base/error.h"

namespace brisk {

void internal_error(const std::string& what, std::source_location where) {
  throw InternalError(fmt::format("internal error: {} ({}:{}); please report this", what,
                                  where.file_name(), where.line()));
}

}  // namespace brisk

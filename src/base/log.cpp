#include "base/log.h"

#include <cstdio>
#include <string>

namespace brisk {

void write_log(std::string_view text) {
  std::string line(text);
  line += '\n';
  std::fwrite(line.data(), 1, line.size(), stderr);  // one call holds the stream's lock throughout
}

}  // namespace brisk

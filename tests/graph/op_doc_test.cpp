// docs/ops.md says what ops.def says.
#include "graph/op_doc.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "graph/node.h"

namespace brisk {
namespace {

TEST(OpDocumentation, thePageInDocsIsUpToDate) {
  std::ifstream file(BRISK_SOURCE_DIR "/docs/ops.md");
  ASSERT_TRUE(file);
  std::stringstream page;
  page << file.rdbuf();
  EXPECT_EQ(page.str(), op_documentation()) << "run brisk_opdoc > docs/ops.md";
}

TEST(OpDocumentation, everyOperationHasALine) {
  const std::string text = op_documentation();
  for (int i = 0; i < op_count(); ++i) {
    const std::string_view op = name(static_cast<Op>(i));
    EXPECT_NE(text.find("\n| `" + std::string(op) + "` |"), std::string::npos) << op;
  }
}

}  // namespace
}  // namespace brisk

// Products of rows with a panel: their value, and what the verifier refuses.
#include "kernel/panel_product.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "kernel/interpret.h"
#include "kernel/verify.h"

namespace brisk {
namespace {

const PanelProduct two_sums = {16, 16, 8, 2};

// One product, whose first sums go to the last param.
Kernel kernel_of(const PanelProduct& product, DType a, DType b, DType sum, Memory memory) {
  const Node sums = make_local(0, sum, 2 * 16 * 16, memory);
  const Node i = make_range(0, 2 * 16 * 16);
  Kernel kernel;
  kernel.name = "product";
  kernel.params = {{a, false, true}, {b, false, true}, {sum, true, false}};
  const Node statement =
      panel_product(product, sums, {make_param(0, a), constant_int(0), constant_int(16)},
                    {make_param(1, b), constant_int(0)}, constant_int(16));
  const Node copy = loop(LoopKind::serial, i, store_to(make_param(2, sum), i, load_from(sums, i)));
  kernel.body = loop(LoopKind::serial, make_range(1, 1), block({statement, copy}));
  return kernel;
}

TEST(PanelProduct, IsASumForEveryRowColumnAndGroup) {
  const Kernel kernel =
      kernel_of(two_sums, DType::int8, DType::int8, DType::int32, Memory::scratch);
  verify_kernel(kernel, "test");
  std::vector<std::int8_t> rows(16 * 16), panel(16 * 16);
  for (int i = 0; i < 256; ++i) {
    rows[i] = static_cast<std::int8_t>(i % 7 - 3);
    panel[i] = static_cast<std::int8_t>(i % 11 - 5);
  }
  std::vector<std::int32_t> out(2 * 16 * 16);
  const auto over = [](auto& all) {
    return HostBuffer{reinterpret_cast<std::byte*>(all.data()),
                      static_cast<std::int64_t>(all.size() * sizeof(all[0]))};
  };
  interpret(kernel, std::vector{over(rows), over(panel), over(out)}, {});
  for (int g = 0; g < 2; ++g) {
    for (int r = 0; r < 16; ++r) {
      for (int c = 0; c < 16; ++c) {
        int sum = 0;
        for (int k = 8 * g; k < 8 * g + 8; ++k)
          sum += rows[r * 16 + k] * panel[(k / 4 * 16 + c) * 4 + k % 4];
        EXPECT_EQ(out[(g * 16 + r) * 16 + c], sum) << g << " " << r << " " << c;
      }
    }
  }
}

TEST(PanelProduct, ItsTileHoldsGroupsThatDivideTheDepth) {
  EXPECT_EQ((PanelProduct{16, 16, 2048}.groups_of_tile(1)), 16);
  EXPECT_EQ((PanelProduct{16, 16, 32}.groups_of_tile(1)), 8);
  EXPECT_EQ((PanelProduct{16, 16, 40}.groups_of_tile(2)), 10);
  EXPECT_EQ((PanelProduct{16, 16, 68}.groups_of_tile(1)), 1);
}

TEST(PanelProduct, OfAnotherKindIsRefused) {
  const auto says = [](const Kernel& kernel, const std::string& what) {
    try {
      verify_kernel(kernel, "test");
      ADD_FAILURE() << "expected: " << what;
    } catch (const InternalError& error) {
      EXPECT_NE(std::string(error.what()).find(what), std::string::npos) << error.what();
    }
  };
  const auto bytes = [](const PanelProduct& product, Memory memory) {
    return kernel_of(product, DType::int8, DType::int8, DType::int32, memory);
  };
  says(kernel_of(two_sums, DType::int8, DType::bfloat16, DType::int32, Memory::scratch),
       "no such product of dtypes");
  says(kernel_of(two_sums, DType::bfloat16, DType::bfloat16, DType::int32, Memory::scratch),
       "no such product of dtypes");
  says(bytes(two_sums, Memory::registers), "sums lie in scratch memory that has room for them");
  says(bytes({16, 16, 8, 3}, Memory::scratch), "sums lie in scratch memory that has room for them");
  says(bytes({8, 16, 8, 1}, Memory::scratch), "the shape is not made of tiles");
  says(bytes({16, 16, 6, 1}, Memory::scratch), "the shape is not made of tiles");
}

}  // namespace
}  // namespace brisk

// What goes wrong while the engine computes names the user's call.
#include "golden/compiled.h"

namespace brisk {
namespace {

template <typename Error, typename F>
void expect_error(F f, const std::vector<std::string>& parts) {
  try {
    f();
    FAIL() << "no error";
  } catch (const Error& error) {
    for (const std::string& part : parts) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  }
}

TEST(EngineError, MemoryThatIsNotThereNamesTheCallAndTheBytes) {
  const Tensor row = numbers({1, 64}).realize();
  const Tensor huge = sigmoid(row.expand({std::int64_t{1} << 45, 64}));
  expect_error<DeviceError>([&] { huge.realize(); },
                            {"computing sigmoid", "out of memory: wanted 8388608"});
}

TEST(EngineError, AVariableWithoutAValueOrOutsideItsBoundsNamesTheCallAndTheVariable) {
  const Dim n = Dim::variable("rows", 1, 8);
  const Tensor x = softmax(numbers({8, 4}).narrow(0, 0, n), 1);
  expect_error<UserError>([&] { x.to_bytes(); }, {"computing softmax", "rows"});
  expect_error<UserError>([&] { x.to_bytes({{n, 9}}); }, {"rows", "9"});
  EXPECT_EQ(x.to_bytes({{n, 3}}).size(), 48U);
}

TEST(EngineError, AComputationGoesOnAfterAnError) {
  const Tensor row = numbers({1, 64}).realize();
  EXPECT_THROW(relu(row.expand({std::int64_t{1} << 45, 64})).realize(), DeviceError);
  EXPECT_EQ((row + 1).to_vector<float>()[5], row.to_vector<float>()[5] + 1);
}

}  // namespace
}  // namespace brisk

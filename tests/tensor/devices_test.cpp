// Graphs over several devices. The second device is whatever the machine has besides the shared
// one; where there is none, these tests say so.
#include "engine/devices.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "brisk/brisk.h"
#include "engine/backends.h"
#include "tensor/node_of.h"

namespace brisk {
namespace {

std::string device_of(const Tensor& realized) {
  const auto* memory = dynamic_cast<const Buffer*>(node_of(realized).attr().storage.get());
  return memory == nullptr ? "none" : memory->device().info().id;
}

class Devices : public testing::Test {
 protected:
  void SetUp() override {
    here_ = Engine::shared().device().info().id;
    for (const DeviceInfo& info : all_devices()) {
      if (info.id != here_) there_ = info.id;
    }
    if (there_.empty()) GTEST_SKIP() << "this machine has one device, " << here_;
  }
  std::string here_, there_;
  Tensor x_ = tensor({1.0F, 2.0F, 3.0F});
};

TEST_F(Devices, ACopyLiesThereAndWhatReadsItRunsThere) {
  const Tensor y = (x_ * 2).to(there_);
  y.realize();
  EXPECT_EQ(device_of(y), there_);
  const Tensor sum = (y + y * y).sum();
  sum.realize();
  EXPECT_EQ(device_of(sum), there_);
  EXPECT_EQ(sum.item<float>(), 12 + 56);
  EXPECT_EQ(device_of(x_), here_);
}

TEST_F(Devices, ThereAndBackInOneGraphGivesTheValues) {
  const Tensor back = ((x_ + 1).to(there_) * 3).to(here_) - x_;
  EXPECT_EQ(back.to_vector<float>(), (std::vector<float>{5, 7, 9}));
}

TEST_F(Devices, MemoryThatAGraphMakesIsOnItsDevice) {
  const Tensor order = argsort((x_ * -1).to(there_));
  order.realize();
  EXPECT_EQ(device_of(order), there_);
  EXPECT_EQ(order.to_vector<int>(), (std::vector<int>{2, 1, 0}));
}

TEST_F(Devices, ACopyToWhereItLiesIsTheSameMemory) {
  const Tensor y = x_.to(here_);
  y.realize();
  EXPECT_EQ(node_of(y), node_of(x_));
}

TEST_F(Devices, WhatReadsNothingIsComputedWhereItIsCopiedTo) {
  const Tensor y = arange(4).to(there_);
  y.realize();
  EXPECT_EQ(device_of(y), there_);
  EXPECT_EQ(y.to_vector<int>(), (std::vector<int>{0, 1, 2, 3}));
}

TEST_F(Devices, TensorsOfTwoDevicesAreNotMixed) {
  const Tensor y = x_.to(there_);
  y.realize();
  const auto said = [](const auto& work) {
    try {
      work();
    } catch (const UserError& error) {
      return std::string(error.what());
    }
    return std::string("no UserError");
  };
  const std::string mixed = said([&] { (x_ + y).realize(); });
  EXPECT_NE(mixed.find("bring them together with to("), std::string::npos) << mixed;
  const Node root = node_of(y * 2);
  const std::string planned = said([&] { Plan({&root, 1}, Engine::shared()); });
  EXPECT_NE(planned.find("lies on " + there_), std::string::npos) << planned;
  const Node copy = node_of((x_ * 2).to(there_));
  const std::string copying = said([&] { Plan({&copy, 1}, Engine::shared()); });
  EXPECT_NE(copying.find("a plan runs on one device"), std::string::npos) << copying;
}

TEST(DeviceOfATensor, ThatIsNotThereIsADeviceError) {
  EXPECT_THROW(ones({3}).to("abacus:1").realize(), DeviceError);
}

}  // namespace
}  // namespace brisk

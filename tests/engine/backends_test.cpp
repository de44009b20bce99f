// The table of back ends: what is listed can be opened, what is not gives an error that lists it.
#include "engine/backends.h"

#include <gtest/gtest.h>

#include <set>

#include "base/error.h"
#include "device/cuda/cuda_device.h"

namespace brisk {
namespace {

TEST(Backends, EveryDeviceHasAnIdOfItsOwnAndTheCpuIsFirst) {
  const std::vector<DeviceInfo> devices = all_devices();
  ASSERT_FALSE(devices.empty());
  EXPECT_EQ(devices[0].id, "cpu");
  std::set<std::string> ids;
  for (const DeviceInfo& info : devices) {
    EXPECT_TRUE(ids.insert(info.id).second) << info.id;
    EXPECT_FALSE(info.name.empty()) << info.id;
  }
}

TEST(Backends, EveryListedDeviceOpensAndHasAGeneratorForItsTarget) {
  for (const DeviceInfo& info : all_devices()) {
    const OpenDevice opened = open_device(info.id);
    EXPECT_EQ(opened.device->info().id, info.id);
    EXPECT_EQ(generator_of(opened.target.isa).isa, opened.target.isa);
    EXPECT_GE(opened.target.threads, 1);
  }
}

TEST(Backends, WhereNobodyChoosesItIsTheFirstGpuOrElseTheCpu) {
  const std::vector<DeviceInfo> gpus = cuda_devices();
  const std::string chosen = open_default_device().device->info().id;
  EXPECT_EQ(chosen, gpus.empty() ? "cpu" : gpus[0].id);
}

TEST(Backends, SensorsOfEveryDeviceSayWhatIsPossible) {
  for (const DeviceInfo& info : all_devices()) {
    const Sensors sensors = read_sensors(info.id);
    EXPECT_GE(sensors.watts.value_or(1), 0) << info.id;
    EXPECT_LE(sensors.watts.value_or(0), 5000) << info.id;
    EXPECT_GT(sensors.celsius.value_or(20), 0) << info.id;
    EXPECT_LT(sensors.celsius.value_or(20), 150) << info.id;
    EXPECT_LE(sensors.free_bytes.value_or(0), info.memory_bytes) << info.id;
  }
  EXPECT_THROW(read_sensors("abacus:3"), DeviceError);
}

TEST(Backends, ADeviceThatIsNotThereGivesAListOfThoseThatAre) {
  for (const char* id : {"abacus:3", "cpu:1", "opencl:999"}) {
    try {
      open_device(id);
      FAIL() << id << " opened";
    } catch (const DeviceError& error) {
      const std::string what = error.what();
      EXPECT_NE(what.find(fmt::format("there is no device \"{}\"", id)), std::string::npos) << what;
      EXPECT_NE(what.find("may be cpu ("), std::string::npos) << what;
    }
  }
}

}  // namespace
}  // namespace brisk

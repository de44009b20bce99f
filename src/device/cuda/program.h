// A kernel's machine code on a GPU and its launches: one by one, or as a graph of the driver that
// is replayed whole.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "device/cuda/context.h"
#include "device/device.h"

namespace brisk::cuda {

class GpuProgram final : public Program {
 public:
  /// From PTX, or the machine code that the driver made of it.
  GpuProgram(std::shared_ptr<GpuContext> context, std::span<const std::byte> object,
             const std::string& symbol);
  ~GpuProgram() override;
  GpuProgram(const GpuProgram&) = delete;
  GpuProgram& operator=(const GpuProgram&) = delete;

  std::vector<std::byte> binary() const override { return binary_; }
  /// The kernel of a phase whose groups have this much shared memory.
  Function phase(std::size_t i, std::int64_t shared_bytes) const;
  const std::string& symbol() const { return symbol_; }

 private:
  std::shared_ptr<GpuContext> context_;
  std::string symbol_;
  std::vector<std::byte> binary_;  // where it was made here
  Module module_ = nullptr;
  std::vector<Function> phases_;
};

/// Starts the kernels of a launch's phases. A phase of persistent groups has one for each of
/// `processors` at most.
void start_launch(GpuContext& context, const Launch& launch, std::int64_t processors);

/// These launches as one graph of kernels, each after the one before. Null where the driver has no
/// such graphs, or a phase has more groups than one kernel can have. Where their code `overlaps`
/// launches (base/target.h), a kernel begins as soon as the one before has room for it.
std::unique_ptr<Recording> record_launches(std::shared_ptr<GpuContext> context,
                                           std::span<const Launch> launches,
                                           std::int64_t processors, bool overlaps);

}  // namespace brisk::cuda

// Runs hand-built kernels in tests. Input: a kernel and its buffers as vectors; output: the vectors
// after the launch.
#pragma once

#include <cstring>
#include <map>
#include <vector>

#include "codegen/codegen.h"
#include "codegen/foreign_machine.h"
#include "device/cpu/cpu_device.h"
#include "kernel/kernel.h"

namespace brisk::test {

inline Device& cpu(int threads = 2) {
  static std::map<int, std::unique_ptr<Device>> devices;
  auto& device = devices[threads];
  if (!device) device = make_cpu_device(threads);
  return *device;
}

/// A param's elements: any container of them.
struct Elements : Memory {
  template <typename Container>
  Elements(Container& container)  // NOLINT: implicit on purpose
      : Memory{const_cast<void*>(static_cast<const void*>(container.data())),
               container.size() * sizeof(*container.data())} {}
};

/// Workspaces are allocated. Sizes of phases and workspaces that depend on variables are given by
/// `tasks` and `workspace`.
struct Run {
  std::vector<Elements> buffers;
  std::vector<std::int64_t> variables;
  std::vector<std::int64_t> tasks;      // empty: they are constant
  std::vector<std::int64_t> workspace;  // elements; empty: they are constant
  int threads = 2;
};

/// Compiles and runs on this machine, or under emulation where the target is of another family.
inline void run(const Kernel& kernel, Run run, const Target& target = host_target()) {
  const CodeObject code = compile(kernel, target);
  if (run.tasks.empty()) {
    for (const Size& size : phase_tasks(kernel)) run.tasks.push_back(size.value());
  }
  std::vector<Memory> buffers(run.buffers.begin(), run.buffers.end());
  std::vector<std::vector<std::byte>> workspace;
  for (std::size_t i = 0; i < kernel.workspace.size(); ++i) {
    const auto elements =
        run.workspace.empty() ? kernel.workspace[i].elements.value() : run.workspace[i];
    workspace.emplace_back(
        static_cast<std::size_t>(elements * byte_size(kernel.workspace[i].dtype)));
    buffers.push_back({workspace.back().data(), workspace.back().size()});
  }
  const auto scratch = static_cast<std::size_t>(scratch_bytes(kernel));
  if (target.isa != host_target().isa) {
    return run_on_aarch64(code, buffers, run.variables, run.tasks, scratch);
  }
  std::vector<void*> addresses;
  for (const Memory& memory : buffers) addresses.push_back(memory.address);
  const auto program = cpu(run.threads).load(code.object, code.symbol);
  Launch launch;
  launch.program = program.get();
  launch.buffers = addresses;
  launch.variables = run.variables;
  launch.phase_tasks = run.tasks;
  launch.scratch_bytes = scratch;
  cpu(run.threads).launch(launch);
}

/// "host" or the name of a CPU.
inline Target target_of(const std::string& name) {
  return name == "host" ? host_target() : target_for(name);
}

inline Kernel kernel_of(std::string name, std::vector<DType> params, Node body,
                        std::vector<Node> variables = {}) {
  Kernel kernel;
  kernel.name = std::move(name);
  for (const DType dtype : params) kernel.params.push_back({dtype, true, true});
  kernel.variables = std::move(variables);
  kernel.body = std::move(body);
  return kernel;
}

}  // namespace brisk::test

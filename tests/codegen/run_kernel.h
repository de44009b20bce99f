// Runs hand-built kernels in tests. Input: a kernel and its buffers as vectors; output: the vectors
// after the launch.
#pragma once

#include <cstring>
#include <map>
#include <vector>

#include "codegen/codegen.h"
#include "device/cpu/cpu_device.h"
#include "kernel/kernel.h"

namespace brisk::test {

inline Device& cpu(int threads = 2) {
  static std::map<int, std::unique_ptr<Device>> devices;
  auto& device = devices[threads];
  if (!device) device = make_cpu_device(threads);
  return *device;
}

/// `buffers` point to the params' elements; workspaces are allocated. Sizes of phases and
/// workspaces that depend on variables are given by `tasks` and `workspace`.
struct Run {
  std::vector<void*> buffers;
  std::vector<std::int64_t> variables;
  std::vector<std::int64_t> tasks;      // empty: they are constant
  std::vector<std::int64_t> workspace;  // elements; empty: they are constant
  int threads = 2;
};

inline void launch(const Kernel& kernel, const Program& program, Run run) {
  Device& device = cpu(run.threads);
  if (run.tasks.empty()) {
    for (const Size& size : phase_tasks(kernel)) run.tasks.push_back(size.value());
  }
  std::vector<std::shared_ptr<Buffer>> owned;
  for (std::size_t i = 0; i < kernel.workspace.size(); ++i) {
    const auto elements =
        run.workspace.empty() ? kernel.workspace[i].elements.value() : run.workspace[i];
    owned.push_back(
        device.allocate(static_cast<std::size_t>(elements * byte_size(kernel.workspace[i].dtype))));
    run.buffers.push_back(owned.back()->address());
  }
  Launch launch;
  launch.program = &program;
  launch.buffers = run.buffers;
  launch.variables = run.variables;
  launch.phase_tasks = run.tasks;
  launch.scratch_bytes = static_cast<std::size_t>(scratch_bytes(kernel));
  device.launch(launch);
}

inline void run(const Kernel& kernel, Run run, const Target& target = host_target()) {
  const CodeObject code = compile(kernel, target);
  const auto program = cpu(run.threads).load(code.object, code.symbol);
  launch(kernel, *program, std::move(run));
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

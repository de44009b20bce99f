#include "device/cuda/program.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/error.h"

namespace brisk::cuda {

namespace {

constexpr std::size_t most_arguments = 4096;    // bytes of a kernel's arguments, on every GPU
constexpr std::size_t argument_alignment = 16;  // that kernels rely on
constexpr std::int64_t shared_without_asking = 48 << 10;  // bytes of a group

struct alignas(64) TensorMap {
  std::array<std::uint64_t, 16> words;
};

// An ELF file.
bool is_machine_code(std::span<const std::byte> object) {
  constexpr std::array<char, 4> magic = {'\x7f', 'E', 'L', 'F'};
  return object.size() > magic.size() && std::memcmp(object.data(), magic.data(), 4) == 0;
}

// What the driver's linker makes is relocatable, and there registers cannot be shared out, nor do
// matrix units run beside what is a call (an exact reciprocal): such a kernel is assembled as it is
// loaded, and only the driver's own cache remembers how.
bool is_whole(std::span<const std::byte> text) {
  const std::string_view view(reinterpret_cast<const char*>(text.data()), text.size());
  const auto has = [&](std::string_view part) { return view.find(part) != std::string_view::npos; };
  return has("setmaxnreg") || (has("wgmma") && has("rcp.rn"));
}

}  // namespace

GpuProgram::GpuProgram(std::shared_ptr<GpuContext> context, std::span<const std::byte> object,
                       const std::string& symbol)
    : context_(std::move(context)), symbol_(symbol) {
  if (!is_machine_code(object) && !is_whole(object)) binary_ = context_->assemble(object, symbol);
  context_->enter();
  JitLog log;
  const std::byte* code = binary_.empty() ? object.data() : binary_.data();
  const Status error = driver().module_load(&module_, code, log.options.size(), log.options.data(),
                                            log.values.data());
  if (error != success) {
    device_error("{}: the driver does not take kernel '{}': {}\n{}", context_->id(), symbol,
                 driver().name_of(error), log.text.data());
  }
  for (int i = 0;; ++i) {
    Function function = nullptr;
    const Status found =
        driver().module_function(&function, module_, fmt::format("{}_{}", symbol, i).c_str());
    if (found == not_found && i > 0) break;
    context_->want(found, "finding a kernel");
    phases_.push_back(function);
  }
}

GpuProgram::~GpuProgram() {
  try {
    context_->enter();
  } catch (const DeviceError&) {
    return;  // the module went with the context
  }
  driver().module_unload(module_);
}

Function GpuProgram::phase(std::size_t i, std::int64_t shared_bytes) const {
  check(i < phases_.size(), "a kernel function for each phase");
  if (shared_bytes > shared_without_asking) {
    context_->want(
        driver().function_set(phases_[i], function_shared_bytes, static_cast<int>(shared_bytes)),
        "asking for shared memory");
  }
  return phases_[i];
}

namespace {

// CUtensorMapDataType.
int tensor_type(DType dtype) {
  switch (dtype) {
    case DType::float16: return 6;
    case DType::float32: return 7;
    case DType::bfloat16: return 9;
    case DType::int32: return 3;
    default: check(byte_size(dtype) == 1, "a dtype of tiles"); return 0;
  }
}

TensorMap tensor_map(const GpuContext& context, const TileMap& tile, std::span<void* const> buffers,
                     const std::string& symbol) {
  TensorMap map{};
  std::vector<std::uint64_t> sizes(tile.sizes.begin(), tile.sizes.end());
  std::vector<std::uint64_t> strides(tile.strides.begin(), tile.strides.end());
  // The driver's boxes count what steps leave out.
  std::vector<std::uint32_t> steps(tile.steps.begin(), tile.steps.end());
  std::vector<std::uint32_t> box(tile.box.begin(), tile.box.end());
  for (std::size_t i = 0; i < box.size(); ++i) box[i] *= steps[i];
  const Address first =
      reinterpret_cast<Address>(buffers[tile.buffer]) + static_cast<Address>(tile.start);
  if (driver().tensor_map == nullptr) {
    device_error(
        "{}: NVIDIA's driver is too old for the device; brisk needs one of CUDA 12.0 or "
        "later (525)",
        context.id());
  }
  const Status error = driver().tensor_map(
      &map, tensor_type(tile.dtype), static_cast<std::uint32_t>(sizes.size()), first, sizes.data(),
      strides.data(), box.data(), steps.data(), 0, swizzle_128_bytes, promote_256_bytes, 0);
  if (error != success) {
    device_error("{}: an array of kernel '{}' cannot be copied in tiles: {}", context.id(), symbol,
                 driver().name_of(error));
  }
  return map;
}

const GpuProgram& program_of(const Launch& launch) {
  return static_cast<const GpuProgram&>(*launch.program);
}

// A launch's arguments as the driver takes them, the same for each of its phases but for the tasks.
class Arguments {
 public:
  /// `variables`: where the kernel finds their values, or 0 for those of the launch.
  Arguments(const GpuContext& context, const Launch& launch, Address variables = 0) {
    check(launch.phase_needs.size() == launch.phase_tasks.size(), "needs of each phase");
    for (void* buffer : launch.buffers) {
      values_.push_back(reinterpret_cast<std::uintptr_t>(buffer));
      check(values_.back() % argument_alignment == 0, "cuda: arguments are aligned");
    }
    for (const std::int64_t variable : launch.variables)
      values_.push_back(static_cast<std::uint64_t>(variable));
    tasks_ = values_.size();
    values_.resize(tasks_ + 2);
    if (!launch.variables.empty()) values_.push_back(variables);
    const std::string& symbol = program_of(launch).symbol();
    for (const TileMap& tile : launch.tiles)
      maps_.push_back(tensor_map(context, tile, launch.buffers, symbol));
    if (values_.size() * sizeof(std::uint64_t) + maps_.size() * sizeof(TensorMap) >
        most_arguments) {
      device_error("{}: kernel '{}' has {} arguments, which is more than the device takes",
                   context.id(), symbol, values_.size() + maps_.size());
    }
    for (std::uint64_t& value : values_) pointers_.push_back(&value);
    for (TensorMap& map : maps_) pointers_.push_back(&map);
  }

  /// For the tasks from `first` on, below `end`.
  void** of_tasks(std::int64_t first, std::int64_t end) {
    values_[tasks_] = static_cast<std::uint64_t>(first);
    values_[tasks_ + 1] = static_cast<std::uint64_t>(end);
    return pointers_.data();
  }

 private:
  std::vector<std::uint64_t> values_;  // of 8 bytes each
  std::size_t tasks_ = 0;              // where the first and the end of them are
  std::vector<TensorMap> maps_;
  std::vector<void*> pointers_;
};

// Whole clusters.
std::int64_t groups_of(const PhaseNeeds& needs, std::int64_t tasks, std::int64_t processors) {
  if (!needs.persistent) return tasks * needs.cluster;
  const std::int64_t groups = std::min(tasks, processors);
  return std::max<std::int64_t>(groups / needs.cluster, tasks > 0 ? 1 : 0) * needs.cluster;
}

}  // namespace

void start_launch(GpuContext& context, const Launch& launch, std::int64_t processors) {
  context.enter();
  const GpuProgram& program = program_of(launch);
  Arguments arguments(context, launch);
  context.launched(program.symbol());
  for (std::size_t i = 0; i < launch.phase_tasks.size(); ++i) {
    const PhaseNeeds& needs = launch.phase_needs[i];
    const std::int64_t tasks = launch.phase_tasks[i];
    const std::int64_t all = groups_of(needs, tasks, processors);
    const std::int64_t task_groups = needs.persistent ? 1 : needs.cluster;
    const std::int64_t at_once = largest_grid / needs.cluster * needs.cluster;
    for (std::int64_t begin = 0; begin < all; begin += at_once) {
      const std::int64_t groups = std::min<std::int64_t>(all - begin, at_once);
      context.want(
          driver().launch(program.phase(i, needs.shared_bytes), static_cast<unsigned>(groups), 1, 1,
                          static_cast<unsigned>(needs.threads), 1, 1,
                          static_cast<unsigned>(needs.shared_bytes), context.stream(),
                          arguments.of_tasks(begin / task_groups, tasks), nullptr),
          "launching");
    }
  }
}

namespace {

bool has_graphs() {
  const Driver& d = driver();
  return d.graph_create != nullptr && d.graph_destroy != nullptr && d.graph_add_kernel != nullptr &&
         d.graph_instantiate != nullptr && d.graph_exec_destroy != nullptr &&
         d.graph_set_kernel != nullptr && d.graph_launch != nullptr;
}

// A chain of kernels, one for each phase of each launch. A phase without tasks has one group, which
// finds nothing to do. Kernels read variables in memory, so that other values cost one copy for all
// of them; only other tasks and tiles change the graph.
class GpuRecording final : public Recording {
 public:
  GpuRecording(std::shared_ptr<GpuContext> context, std::span<const Launch> launches,
               std::int64_t processors, bool overlaps)
      : context_(std::move(context)),
        processors_(processors),
        overlaps_(overlaps && driver().graph_depend != nullptr) {
    for (const Launch& launch : launches) {
      first_variable_.push_back(variables_.size());
      variables_.insert(variables_.end(), launch.variables.begin(), launch.variables.end());
    }
    context_->enter();
    context_->want(driver().graph_create(&graph_, 0), "making a graph");
    try {
      if (!variables_.empty()) in_memory_ = context_->allocate(std::as_bytes(span()).size());
      for (const Launch& launch : launches) add(launch);
      context_->want(driver().graph_instantiate(&exec_, graph_, 0), "compiling a graph");
    } catch (...) {
      destroy();
      throw;
    }
    name_ = "a recording that ends with " + program_of(launches.back()).symbol();
  }
  ~GpuRecording() override {
    if (driver().context_set(context_->handle()) == success) destroy();
  }
  GpuRecording(const GpuRecording&) = delete;
  GpuRecording& operator=(const GpuRecording&) = delete;

  void update(std::size_t i, const Launch& launch) override {
    const std::span<std::int64_t> mine = span().subspan(first_variable_[i]);
    if (!std::equal(launch.variables.begin(), launch.variables.end(), mine.begin())) {
      std::copy(launch.variables.begin(), launch.variables.end(), mine.begin());
      written_ = false;
    }
    Shape shape(launch);
    if (shape == shapes_[i]) return;
    shapes_[i] = std::move(shape);
    context_->enter();
    Arguments arguments(*context_, launch, variables_of(i));
    for (std::size_t phase = 0; phase < launch.phase_tasks.size(); ++phase) {
      const KernelNode kernel = kernel_of(launch, phase, arguments);
      context_->want(driver().graph_set_kernel(exec_, phases_[i][phase], &kernel),
                     "changing a kernel of a graph");
    }
  }

  void replay() override {
    context_->enter();
    if (!written_ && !variables_.empty()) {
      const auto bytes = std::as_bytes(span());
      context_->copy_in(in_memory_, bytes.data(), bytes.size());
    }
    written_ = true;
    context_->launched(name_);
    context_->want(driver().graph_launch(exec_, context_->stream()), "launching a graph");
  }

 private:
  // What a graph holds of a launch beyond its program and buffers.
  struct Shape {
    explicit Shape(const Launch& launch)
        : tasks(launch.phase_tasks.begin(), launch.phase_tasks.end()),
          tiles(launch.tiles.begin(), launch.tiles.end()) {}
    bool operator==(const Shape&) const = default;
    std::vector<std::int64_t> tasks;
    std::vector<TileMap> tiles;
  };

  std::span<std::int64_t> span() { return variables_; }
  Address variables_of(std::size_t launch) const {
    return in_memory_ + first_variable_[launch] * sizeof(std::int64_t);
  }

  KernelNode kernel_of(const Launch& launch, std::size_t phase, Arguments& arguments) const {
    const PhaseNeeds& needs = launch.phase_needs[phase];
    const std::int64_t tasks = launch.phase_tasks[phase];
    check(tasks <= largest_grid / needs.cluster, "a recorded phase is one kernel");
    KernelNode kernel{};
    kernel.function = program_of(launch).phase(phase, needs.shared_bytes);
    kernel.grid[0] =
        static_cast<unsigned>(std::max(needs.cluster, groups_of(needs, tasks, processors_)));
    kernel.grid[1] = kernel.grid[2] = 1;
    kernel.block[0] = static_cast<unsigned>(needs.threads);
    kernel.block[1] = kernel.block[2] = 1;
    kernel.shared_bytes = static_cast<unsigned>(needs.shared_bytes);
    kernel.arguments = arguments.of_tasks(0, tasks);
    return kernel;
  }

  void add(const Launch& launch) {
    Arguments arguments(*context_, launch, variables_of(phases_.size()));
    shapes_.emplace_back(launch);
    std::vector<GraphNode>& phases = phases_.emplace_back();
    for (std::size_t phase = 0; phase < launch.phase_tasks.size(); ++phase) {
      const KernelNode kernel = kernel_of(launch, phase, arguments);
      GraphNode node = nullptr;
      const bool early = overlaps_ && last_ != nullptr;
      context_->want(driver().graph_add_kernel(&node, graph_, &last_,
                                               early || last_ == nullptr ? 0 : 1, &kernel),
                     "adding a kernel to a graph");
      if (early)
        context_->want(driver().graph_depend(graph_, &last_, &node, &all_groups_began, 1),
                       "ordering kernels of a graph");
      last_ = node;
      phases.push_back(node);
    }
  }

  void destroy() noexcept {
    if (exec_ != nullptr) driver().graph_exec_destroy(exec_);
    if (graph_ != nullptr) driver().graph_destroy(graph_);
    if (in_memory_ != 0) context_->free(in_memory_);
  }

  std::shared_ptr<GpuContext> context_;
  std::int64_t processors_;
  bool overlaps_;
  Graph graph_ = nullptr;
  GraphExec exec_ = nullptr;
  GraphNode last_ = nullptr;
  std::vector<std::vector<GraphNode>> phases_;  // of each launch
  std::vector<Shape> shapes_;
  std::vector<std::int64_t> variables_;  // of all launches
  std::vector<std::size_t> first_variable_;
  Address in_memory_ = 0;
  bool written_ = false;
  std::string name_;
};

bool fits_one_kernel(const Launch& launch) {
  for (std::size_t i = 0; i < launch.phase_tasks.size(); ++i) {
    if (launch.phase_tasks[i] > largest_grid / launch.phase_needs[i].cluster) return false;
  }
  return true;
}

}  // namespace

std::unique_ptr<Recording> record_launches(std::shared_ptr<GpuContext> context,
                                           std::span<const Launch> launches,
                                           std::int64_t processors, bool overlaps) {
  if (launches.empty() || !has_graphs()) return nullptr;
  if (!std::all_of(launches.begin(), launches.end(), fits_one_kernel)) return nullptr;
  return std::make_unique<GpuRecording>(std::move(context), launches, processors, overlaps);
}

}  // namespace brisk::cuda

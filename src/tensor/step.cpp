// Recording a function's graph, and replaying it.
#include "brisk/step.h"

#include <array>

#include "base/error.h"
#include "tensor/accumulator.h"
#include "tensor/build.h"
#include "tensor/capture.h"
#include "tensor/realize.h"
#include "tensor/realized.h"

namespace brisk {

namespace {
thread_local Capture* capturing = nullptr;
}

Capture* Capture::current() { return capturing; }

struct Step::Impl {
  Recorded function;
  StepOptions options;
  bool recorded = false;
  Capture capture;
  std::vector<Tensor> outputs;
  std::vector<Tensor> computed;  // of the outputs and of what was assigned: no constants
  std::vector<Node> written;     // memory that a replay changes
  std::unique_ptr<Replay> replay;

  void record();
  void run_function();
  void prepare();
  void draw_again();
  void begin();
  void end(const std::vector<Node>& buffers);
};

Step::Step(Recorded function, const StepOptions& options) : impl_(std::make_unique<Impl>()) {
  if (options.memory < 0)
    user_error("Step: wants 0 bytes of memory or more, got {}", options.memory);
  impl_->function = std::move(function);
  impl_->options = options;
}
Step::~Step() = default;
Step::Step(Step&&) noexcept = default;
Step& Step::operator=(Step&&) noexcept = default;

void Step::Impl::run_function() {
  struct Recording {
    explicit Recording(Capture& capture) { capturing = &capture; }
    ~Recording() { capturing = nullptr; }
  };
  capture.draws.clear();
  const Recording recording(capture);
  outputs = function();
}

void Step::Impl::record() {
  brisk::realize({});  // what was to be computed before
  run_function();
  computed = to_compute();
  for (const Tensor& output : outputs) {
    want_defined(output, "a result of the function");
    computed.push_back(output);
  }
  prepare();
  function = nullptr;
  recorded = true;
}

// Once for every distinct node; what lies in memory already stays there.
void Step::Impl::prepare() {
  std::vector<Node> nodes;
  for (const Tensor& tensor : computed) nodes.push_back(node_of(tensor));
  nodes = RealizedNodes::shared().over_buffers(nodes);
  std::vector<Node> roots;
  std::vector<Tensor> tensors;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (value_node(nodes[i]).is(Op::buffer_)) continue;
    if (nodes[i].is(Op::store_)) written.push_back(base_buffer(nodes[i]));
    roots.push_back(nodes[i]);
    tensors.push_back(computed[i]);
  }
  computed = std::move(tensors);
  if (!roots.empty()) replay = executor().prepare(roots, options.memory);
}

void Step::Impl::draw_again() {
  for (const Capture::Draw& draw : capture.draws) {
    const std::array<std::uint64_t, 2> state = {draw.generator->seed(),
                                                draw.generator->advance(draw.words)};
    executor().write(draw.state, std::as_bytes(std::span(state)), 0);
  }
}

void Step::Impl::begin() {
  if (capturing != nullptr) call_error("a Step cannot run while another one records");
  if (recorded) {
    brisk::realize({});
    draw_again();
  } else {
    record();
  }
  for (const Node& buffer : written) RealizedNodes::shared().changed(buffer);
}

void Step::Impl::end(const std::vector<Node>& buffers) {
  for (std::size_t i = 0; i < buffers.size(); ++i) place(computed[i], buffers[i]);
}

const std::vector<Tensor>& Step::operator()() {
  const Call call("Step");
  impl_->begin();
  if (impl_->replay) impl_->end(impl_->replay->run());
  return impl_->outputs;
}

std::int64_t Step::memory() const { return impl_->replay ? impl_->replay->bytes() : 0; }

std::vector<Step::KernelTime> Step::timed() {
  const Call call("Step");
  (*this)();
  impl_->begin();
  std::vector<KernelTime> times;
  if (!impl_->replay) return times;
  for (auto& [name, seconds] : impl_->replay->timed_run()) times.push_back({name, seconds});
  return times;
}

}  // namespace brisk

// Products of matrices against OpenBLAS (single precision) and oneDNN (bfloat16, int8), all
// row-major and unpacked before the call. The results are compared before the times are.
#include <cmath>
#include <cstring>

#include "limits.h"
#ifdef BENCH_OPENBLAS
#include <cblas.h>
#endif
#ifdef BENCH_DNNL
#include <dnnl.hpp>
#endif

namespace {

using namespace bench;
using brisk::DType;
using brisk::Tensor;

struct Report {
  Table table{{"product", "peer GFLOP/s", "brisk GFLOP/s", "brisk / peer", "share of fp32 peak",
               "kernels"}};
  double peak = multiply_add_peak(threads);

  void add(const std::string& name, double operations, const std::optional<Comparison>& times,
           Replay& ours) {
    const double brisk = times ? times->brisk : one_round([&] { ours(); }, {});
    table.add({name, times ? fmt::format("{:.0f}", operations / times->peer / 1e9) : "-",
               fmt::format("{:.0f}", operations / brisk / 1e9),
               times ? fmt::format("{:.2f}", times->ratio) : "-",
               fmt::format("{:.2f}", operations / brisk / peak),
               fmt::format("{}", ours.kernels())});
  }
};

// Ends the program where the two sides do not agree: a fast wrong product has no speed.
template <typename T>
void agree(const std::string& name, std::span<const T> peer, std::span<const T> brisk,
           double tolerance, double (*value)(T)) {
  double largest = 0, difference = 0;
  for (std::size_t i = 0; i < peer.size(); ++i) {
    largest = std::max(largest, std::abs(value(peer[i])));
    difference = std::max(difference, std::abs(value(peer[i]) - value(brisk[i])));
  }
  if (peer.size() == brisk.size() && difference <= tolerance * largest) return;
  fmt::print(stderr, "{}: brisk differs from its peer by {} of {}\n", name, difference, largest);
  std::exit(1);
}

void single_product(Report& report, std::int64_t n, bool transposed) {
  const std::string name = fmt::format("float32 {}{}", n, transposed ? ", A·Bᵀ" : "");
  const auto count = static_cast<std::size_t>(n * n);
  Random random(3);
  const auto a = random.uniforms(count), b = random.uniforms(count);
  const Tensor ta = brisk::from_host(std::span(a), {n, n});
  const Tensor tb = brisk::from_host(std::span(b), {n, n});
  Replay ours(matmul(ta, transposed ? tb.transpose(0, 1) : tb));
  std::optional<Comparison> times;
#ifdef BENCH_OPENBLAS
  std::vector<float> c(count);
  const auto size = static_cast<int>(n);
  const auto peer = [&] {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, transposed ? CblasTrans : CblasNoTrans, size, size,
                size, 1, a.data(), size, b.data(), size, 0, c.data(), size);
  };
  peer();
  ours();
  agree<float>(name, c, ours.read<float>(), 1e-5, [](float x) { return double{x}; });
  times = compare(peer, [&] { ours(); });
#endif
  report.add(name, 2.0 * static_cast<double>(n * n * n), times, ours);
}

#ifdef BENCH_DNNL
// c = a b through oneDNN's matmul primitive, everything row-major.
class Dnnl {
 public:
  using Type = dnnl::memory::data_type;
  /// Nothing where oneDNN has no such product for this processor.
  static std::optional<Dnnl> make(const std::string& name, std::int64_t n, Type a, Type b, Type c,
                                  void* pa, void* pb, void* pc) {
    try {
      return Dnnl(n, a, b, c, pa, pb, pc);
    } catch (const dnnl::error& error) {
      fmt::print("{}: oneDNN refuses it on this processor ({})\n", name, error.what());
      return std::nullopt;
    }
  }
  Dnnl(std::int64_t n, Type a, Type b, Type c, void* pa, void* pb, void* pc)
      : engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {
    const auto describe = [&](Type type) {
      return dnnl::memory::desc({n, n}, type, dnnl::memory::format_tag::ab);
    };
    const dnnl::matmul::desc description(describe(a), describe(b), describe(c));
    primitive_ = dnnl::matmul(dnnl::matmul::primitive_desc(description, engine_));
    arguments_ = {{DNNL_ARG_SRC, dnnl::memory(describe(a), engine_, pa)},
                  {DNNL_ARG_WEIGHTS, dnnl::memory(describe(b), engine_, pb)},
                  {DNNL_ARG_DST, dnnl::memory(describe(c), engine_, pc)}};
  }
  void operator()() {
    primitive_.execute(stream_, arguments_);
    stream_.wait();
  }

 private:
  dnnl::engine engine_;
  dnnl::stream stream_;
  dnnl::matmul primitive_;
  std::unordered_map<int, dnnl::memory> arguments_;
};
#endif

void bfloat16_product(Report& report, std::int64_t n) {
  const std::string name = fmt::format("bfloat16 {}", n);
  const auto count = static_cast<std::size_t>(n * n);
  Random random(4);
  std::vector<std::uint16_t> a(count), b(count), c(count);
  for (auto& x : a) x = brisk::float_to_bfloat16(random.uniform());
  for (auto& x : b) x = brisk::float_to_bfloat16(random.uniform());
  const auto tensor = [&](const std::vector<std::uint16_t>& x) {
    return brisk::from_bytes(std::as_bytes(std::span(x)), {n, n}, DType::bfloat16);
  };
  Replay ours(matmul(tensor(a), tensor(b)));
  std::optional<Comparison> times;
#ifdef BENCH_DNNL
  using Type = dnnl::memory::data_type;
  auto peer = Dnnl::make(name, n, Type::bf16, Type::bf16, Type::bf16, a.data(), b.data(), c.data());
  if (!peer) return report.add(name, 2.0 * static_cast<double>(n * n * n), times, ours);
  (*peer)();
  ours();
  agree<std::uint16_t>(name, c, ours.read<std::uint16_t>(), 0.01, [](std::uint16_t x) {
    return static_cast<double>(brisk::bfloat16_to_float(x));
  });
  times = compare([&] { (*peer)(); }, [&] { ours(); });
#endif
  report.add(name, 2.0 * static_cast<double>(n * n * n), times, ours);
}

// The left matrix signed or not; exact 32-bit sums.
void int8_product(Report& report, std::int64_t n, bool with_sign) {
  const std::string name = fmt::format("{} × int8 {}", with_sign ? "int8" : "uint8", n);
  const auto count = static_cast<std::size_t>(n * n);
  Random random(5);
  auto a = random.bytes(count), b = random.bytes(count);
  // Seven bits on one side: with eight on both, oneDNN's sums of pairs saturate on processors
  // without VNNI.
  for (auto& x : with_sign ? b : a)
    x = static_cast<std::byte>(static_cast<int>(x) % 128 - (with_sign ? 64 : 0));
  std::vector<std::int32_t> c(count);
  const auto tensor = [&](const std::vector<std::byte>& x, DType dtype) {
    return brisk::from_bytes(x, {n, n}, dtype).cast(DType::int32);
  };
  Replay ours(matmul(tensor(a, with_sign ? DType::int8 : DType::uint8), tensor(b, DType::int8)));
  std::optional<Comparison> times;
#ifdef BENCH_DNNL
  using Type = dnnl::memory::data_type;
  auto peer = Dnnl::make(name, n, with_sign ? Type::s8 : Type::u8, Type::s8, Type::s32, a.data(),
                         b.data(), c.data());
  if (!peer) return report.add(name, 2.0 * static_cast<double>(n * n * n), times, ours);
  (*peer)();
  ours();
  agree<std::int32_t>(name, c, ours.read<std::int32_t>(), 0,
                      [](std::int32_t x) { return static_cast<double>(x); });
  times = compare([&] { (*peer)(); }, [&] { ours(); });
#endif
  report.add(name, 2.0 * static_cast<double>(n * n * n), times, ours);
}

}  // namespace

int main(int, char** argv) {
  begin(argv, "gemm: products of matrices against OpenBLAS and oneDNN");
#ifndef BENCH_OPENBLAS
  fmt::print("float32 without its peer: libopenblas-dev is missing\n");
#endif
#ifndef BENCH_DNNL
  fmt::print("bfloat16 and int8 without their peer: libdnnl-dev is missing\n");
#endif
  Report report;
  for (const std::int64_t n : {1024, 2048}) {
    single_product(report, n, false);
    single_product(report, n, true);
  }
  bfloat16_product(report, 2048);
  int8_product(report, 2048, false);
  int8_product(report, 2048, true);
}

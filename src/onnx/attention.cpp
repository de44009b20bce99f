// Attention and rotary positions, of ai.onnx and of com.microsoft.
#include <cmath>

#include "onnx/build.h"

namespace brisk::onnx {

namespace {

// [batch, sequence, heads·width] → [batch, heads, sequence, width]; four axes as they are.
Tensor by_heads(const NodeCall& c, const Tensor& x, std::int64_t heads) {
  if (x.rank() == 4) return x;
  if (x.rank() != 3 || heads < 1 || x.size(2).value() % heads != 0)
    c.fail("{} heads do not divide an input of shape {}", heads, to_string(x.dims()));
  return x.unflatten(2, {heads, -1}).transpose(1, 2);
}

Tensor without_heads(const Tensor& x) { return x.transpose(1, 2).flatten(2); }

Tensor joined(const NodeCall& c, std::size_t past, const Tensor& now) {
  return c.has(past) && product(c.dims(past)) != Dim(0) ? cat({c[past], now}, 2) : now;
}

// A mask as what is added to scores.
Tensor added(const Tensor& mask) {
  return is_bool(mask.dtype()) ? where(mask, 0.0, -INFINITY) : mask;
}

// What is added to the scores [.., queries, keys] of queries whose first is at `offset` (a number,
// or one for each batch [batch, 1, 1, 1]): undefined where every key is seen.
Tensor score_bias(const NodeCall& c, const Dim& queries, const Dim& keys, const Tensor& offset,
                  bool causal) {
  Tensor bias;
  const auto add = [&](const Tensor& one) {
    bias = bias.defined() ? added(bias) + added(one) : one;
  };
  if (c.has(3)) {
    Tensor mask = c[3];
    const Dim unnamed = keys - mask.size(-1);
    if (unnamed.upper() > 0)  // keys that it does not name are not seen
      mask = brisk::pad(added(mask), {0, unnamed.value()}, PadMode::constant, -INFINITY);
    add(mask);
  }
  const std::int64_t left = c.integer("left_window_size", -1),
                     right = c.integer("right_window_size", -1);
  const Tensor position = arange(queries).unsqueeze(1) + offset;
  const Tensor key = arange(keys);
  if (causal) add(key <= position);
  if (left >= 0) add(position - key <= left);
  if (right >= 0) add(key - position <= right);
  if (c.has(6)) add(key < c[6].cast(DType::int64).reshape({-1, 1, 1, 1}));
  return bias;
}

// Inputs q, k, v, mask, past key, past value, lengths of the keys.
Values attention(NodeCall& c) {
  const bool flat = c.rank(0) == 3;
  const Tensor q = by_heads(c, c[0], c.integer("q_num_heads", 0));
  const Tensor k = joined(c, 4, by_heads(c, c[1], c.integer("kv_num_heads", 0)));
  const Tensor v = joined(c, 5, by_heads(c, c[2], c.integer("kv_num_heads", 0)));
  const Dim queries = q.size(2), keys = k.size(2);
  AttentionOptions options;
  if (c.has_attribute("scale")) options.scale = c.number("scale", 1);
  options.softcap = c.number("softcap", 0);
  const bool causal = c.integer("is_causal", 0) != 0;
  const bool has_past = c.has(4) && c.dims(4).at(2) != Dim(0);
  const bool plain = !c.has(6) && !has_past;  // then the first query is the first key's
  Tensor offset = has_past ? number(c.dims(4).at(2)) : Tensor(std::int64_t{0});
  if (c.has(6)) offset = c[6].cast(DType::int64).reshape({-1, 1, 1, 1}) - number(queries);
  options.causal = causal && plain;
  options.mask = score_bias(c, queries, keys, offset, causal && !plain);
  Tensor y = scaled_dot_product_attention(q, k, v, options);
  if (options.mask.defined()) {  // a query that sees no key gives 0
    const Tensor bias =
        options.causal ? added(options.mask) + added(arange(keys) <= arange(queries).unsqueeze(1))
                       : added(options.mask);
    // Stored, so that attention stays one kernel.
    y = where(amax(bias, -1, true).contiguous() > -INFINITY, y, 0.0);
  }
  Values results = {(flat ? without_heads(y) : y).cast(c[0].dtype()), k, v};
  if (!c.wants(3)) return results;
  // The scores themselves: with scale (0), with softcap (1), with what is added (2), as shares (3).
  const std::int64_t mode = c.integer("qk_matmul_output_mode", 0);
  const std::int64_t group = q.size(1).value() / k.size(1).value();
  const double scale =
      options.scale.value_or(1 / std::sqrt(static_cast<double>(q.size(3).value())));
  Tensor scores = matmul(q, k.repeat_interleave(group, 1).transpose(2, 3)) * scale;
  if (mode >= 1 && options.softcap > 0) scores = tanh(scores / options.softcap) * options.softcap;
  Tensor bias = options.mask.defined() ? added(options.mask) : Tensor();
  if (options.causal) {
    const Tensor own = added(arange(keys) <= arange(queries).unsqueeze(1));
    bias = bias.defined() ? bias + own : own;
  }
  if (mode >= 2 && bias.defined()) scores = scores + bias;
  if (mode == 3) {
    const Tensor shares = softmax(scores, -1);
    scores = bias.defined() ? where(amax(bias, -1, true) > -INFINITY, shares, 0.0) : shares;
  }
  results.emplace_back(scores.cast(c[0].dtype()));
  return results;
}

// Rows of the tables at `positions` [batch, sequence] (undefined: 0, 1, …) as [batch, 1, sequence,
// width].
Tensor table_rows(const Tensor& table, const Tensor& positions, const Dim& sequence) {
  if (table.rank() == 3) return table.unsqueeze(1);
  if (!positions.defined()) return table.narrow(0, 0, sequence).unsqueeze(0).unsqueeze(0);
  return embedding(positions.cast(DType::int64), table).unsqueeze(1);
}

// Rotates the first `width` elements of each head.
Tensor rotated_part(const Tensor& x, const Tensor& cos, const Tensor& sin, bool interleaved,
                    std::int64_t width) {
  const std::int64_t whole = x.size(-1).value();
  if (width <= 0 || width >= whole) return rotated(x, cos, sin, interleaved);
  return cat(
      {rotated(x.narrow(-1, 0, width), cos, sin, interleaved), x.narrow(-1, width, whole - width)},
      -1);
}

Values rotary(NodeCall& c, std::size_t positions, std::size_t cos, std::size_t sin) {
  const bool flat = c.rank(0) == 3;
  std::int64_t heads = c.integer("num_heads", 0);
  const std::int64_t width = c.integer("rotary_embedding_dim", 0);
  if (flat && heads == 0) heads = c.dims(0)[2].value() / (2 * c.dims(cos).back().value());
  const Tensor x = by_heads(c, c[0], heads);
  const Dim sequence = x.size(2);
  Tensor at = c.optional(positions);
  if (at.defined() && product(c.dims(positions)) == Dim(1) &&
      sequence != Dim(1))  // the first one's
    at = at.cast(DType::int64).reshape({1, 1}) + arange(sequence);
  else if (at.defined() && at.rank() == 1)
    at = at.reshape({1, -1});
  const Tensor y =
      rotated_part(x, table_rows(c[cos], at, sequence), table_rows(c[sin], at, sequence),
                   c.integer("interleaved", 0) != 0, width);
  return {(flat ? without_heads(y) : y).cast(c[0].dtype())};
}

// ---- com.microsoft ------------------------------------------------------------------------------

// [batch, keys] or lengths [batch]: 1 where a key is seen.
Tensor key_mask(const Tensor& mask, const Dim& batch, const Dim& keys) {
  const Tensor flags = mask.cast(DType::int64);
  if (flags.rank() == 1)
    return (arange(keys) < flags.narrow(0, 0, batch).unsqueeze(1)).reshape({batch, 1, 1, keys});
  if (flags.rank() == 2) return (flags != 0).reshape({batch, 1, 1, keys});
  return (flags != 0).unsqueeze(1);
}

void add_bias(AttentionOptions& options, const Tensor& bias) {
  if (!bias.defined()) return;
  if (!options.mask.defined())
    options.mask = bias;
  else
    options.mask = where(options.mask, 0.0, -1e30) + bias;
}

// Of all keys and values; the mask of keys is input `mask`, input 5 is added to the scores.
Tensor attended(const NodeCall& c, const Tensor& q, const Tensor& k, const Tensor& v,
                std::size_t mask) {
  AttentionOptions options;
  if (c.has(mask)) options.mask = key_mask(c[mask], q.size(0), k.size(2));
  add_bias(options, c.optional(5));
  options.causal = c.integer("unidirectional", 0) != 0;
  options.causal_end = options.causal;
  if (c.number("scale", 0) != 0) options.scale = c.number("scale", 0);
  return without_heads(scaled_dot_product_attention(q, k, v, options)).cast(c[0].dtype());
}

// query, key, value, bias, key mask, attention bias, past key, past value.
Values multi_head(NodeCall& c) {
  const std::int64_t heads = c.integer("num_heads", 1);
  Tensor q = c[0], k = c.optional(1), v = c.optional(2);
  if (!k.defined()) {  // packed: [batch, sequence, heads, 3, width]
    if (q.rank() != 5) c.fail("wants keys, or a packed query of rank 5");
    const auto part = [&](int i) { return c[0].select(3, i).transpose(1, 2); };
    q = part(0), k = part(1), v = part(2);
  } else if (!v.defined()) {  // keys and values: [batch, sequence, heads, 2, width]
    if (k.rank() != 5) c.fail("wants values, or packed keys of rank 5");
    v = c[1].select(3, 1).transpose(1, 2);
    k = c[1].select(3, 0).transpose(1, 2);
  }
  if (c.has(3)) {
    const Tensor bias = c[3];
    const std::int64_t width = c.rank(0) == 3 ? c.dims(0)[2].value() : bias.size(0).value() / 3;
    const auto biased = [&](const Tensor& x, std::int64_t start, std::int64_t count) {
      const Tensor part = bias.narrow(0, start, count);
      return x.rank() == 4 ? x + part.reshape({heads, 1, -1}) : x + part;
    };
    q = biased(q, 0, width);
    if (k.rank() == 3 || !c.has(1)) {
      k = biased(k, width, width);
      v = biased(v, 2 * width, bias.size(0).value() - 2 * width);
    }
  }
  q = by_heads(c, q, heads);
  k = joined(c, 6, by_heads(c, k, heads));
  v = joined(c, 7, by_heads(c, v, heads));
  return {attended(c, q, k, v, 4), k, v};
}

// input, weight, bias, mask, past [2, batch, heads, length, width], attention bias.
Values packed_attention(NodeCall& c) {
  const std::int64_t heads = c.integer("num_heads", 1);
  if (c.integer("do_rotary", 0) != 0) c.fail("do_rotary is not supported");
  Tensor all = matmul(c[0], c[1]);
  if (c.has(2)) all = all + c[2];
  const std::int64_t width = all.size(-1).value();
  std::vector<std::int64_t> sizes = c.integers("qkv_hidden_sizes");
  if (sizes.empty()) sizes = {width / 3, width / 3, width / 3};
  if (sizes.size() != 3 || sizes[0] + sizes[1] + sizes[2] != width)
    c.fail("qkv_hidden_sizes do not add up to {}", width);
  const auto part = [&](std::int64_t start, std::int64_t count) {
    return by_heads(c, all.narrow(-1, start, count), heads);
  };
  const Tensor q = part(0, sizes[0]);
  Tensor k = part(sizes[0], sizes[1]);
  Tensor v = part(sizes[0] + sizes[1], sizes[2]);
  if (c.has(4) && product(c.dims(4)) != Dim(0)) {
    k = cat({c[4].select(0, 0), k}, 2);
    v = cat({c[4].select(0, 1), v}, 2);
  }
  Values results = {attended(c, q, k, v, 3)};
  if (c.wants(1)) results.emplace_back(stack({k, v}));
  return results;
}

// query, key, value, past key, past value, seqlens_k, total length, cos, sin. seqlens_k is each
// batch's last position; the keys before are the past's.
Values group_query(NodeCall& c) {
  const std::int64_t heads = c.integer("num_heads", 1);
  const std::int64_t key_heads = c.integer("kv_num_heads", heads);
  if (heads < 1 || key_heads < 1) c.fail("{} heads over {} key heads", heads, key_heads);
  Tensor q = c[0];
  Tensor k = c.optional(1), v = c.optional(2);
  if (!k.defined()) {  // packed
    const std::int64_t width = q.size(2).value() / (heads + 2 * key_heads);
    k = q.narrow(2, heads * width, key_heads * width);
    v = q.narrow(2, (heads + key_heads) * width, key_heads * width);
    q = q.narrow(2, 0, heads * width);
  }
  q = by_heads(c, q, heads);
  k = by_heads(c, k, key_heads);
  v = by_heads(c, v, key_heads);
  const Dim sequence = q.size(2);
  const bool has_past = c.has(3) && c.dims(3).at(2) != Dim(0);
  Tensor at = arange(sequence).unsqueeze(0);  // each query's position, [batch or 1, sequence]
  if (has_past) at = at + (c[5].cast(DType::int64).reshape({-1, 1}) + number(Dim(1) - sequence));
  if (c.integer("do_rotary", 0) != 0) {
    const bool interleaved = c.integer("rotary_interleaved", 0) != 0;
    const std::int64_t width = 2 * c.shape(7).back();
    const Tensor cos = table_rows(c[7], at, sequence), sin = table_rows(c[8], at, sequence);
    q = rotated_part(q, cos, sin, interleaved, width);
    k = rotated_part(k, cos, sin, interleaved, width);
  }
  k = joined(c, 3, k);
  v = joined(c, 4, v);
  AttentionOptions options;
  const Tensor position = at.reshape({-1, 1, sequence, 1});
  const Tensor key = arange(k.size(2));
  options.mask = key <= position;
  const std::int64_t window = c.integer("local_window_size", -1);
  if (window > 0) options.mask = options.mask & (key > position - window);
  if (c.number("scale", 0) != 0) options.scale = c.number("scale", 0);
  options.softcap = c.number("softcap", 0);
  const Tensor y = without_heads(scaled_dot_product_attention(q, k, v, options));
  return {y.cast(c[0].dtype()), k, v};
}

}  // namespace

Tensor rotated(const Tensor& x, const Tensor& cos, const Tensor& sin, bool interleaved) {
  const std::int64_t half = x.size(-1).value() / 2;
  if (interleaved) {
    const Tensor pairs = x.unflatten(-1, {half, 2});
    const Tensor a = pairs.select(-1, 0), b = pairs.select(-1, 1);
    return stack({a * cos - b * sin, a * sin + b * cos}, -1).flatten(-2);
  }
  const Tensor a = x.narrow(-1, 0, half), b = x.narrow(-1, half, half);
  return cat({a * cos - b * sin, a * sin + b * cos}, -1);
}

void add_attention(OperatorTable& t) {
  t.add("Attention", attention);
  t.add("RotaryEmbedding", [](NodeCall& c) -> Values { return rotary(c, 3, 1, 2); });
  t.add_microsoft("RotaryEmbedding", [](NodeCall& c) -> Values { return rotary(c, 1, 2, 3); });
  t.add_microsoft("MultiHeadAttention", multi_head);
  t.add_microsoft("Attention", packed_attention);
  t.add_microsoft("GroupQueryAttention", group_query);
}

}  // namespace brisk::onnx

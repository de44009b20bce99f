// Operators whose result's size or order depends on values. Where these are not known they are
// computed at the call, and the result is made on the host.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "onnx/build.h"

namespace brisk::onnx {

namespace {

using Sizes = std::vector<std::int64_t>;

Values top_k(NodeCall& c) {
  const Tensor x = c[0];
  const std::int64_t k = c.has(1) ? c.integer(std::size_t{1}) : c.integer("k", -1);
  const int axis = c.axis("axis", -1, x.rank());
  if (x.rank() < 1 || k < 0 || k > x.size(axis).value())
    c.fail("k is {} for an input of shape {}", k, to_string(x.dims()));
  const ValuesIndices found = x.topk(k, axis, c.integer("largest", 1) != 0);
  return {found.values, found.indices};
}

Values non_zero(NodeCall& c) {
  const HostTensor x = c.host(0);
  const std::vector<double> values = numbers_of(x);
  const std::size_t rank = x.shape.size();
  std::vector<std::size_t> hits;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (values[i] != 0) hits.push_back(i);
  }
  Sizes rows(rank * hits.size());
  for (std::size_t k = 0; k < hits.size(); ++k) {
    auto rest = static_cast<std::int64_t>(hits[k]);
    for (std::size_t axis = rank; axis-- > 0; rest /= x.shape[axis])
      rows[axis * hits.size() + k] = rest % x.shape[axis];
  }
  return {
      host_tensor(rows, {static_cast<std::int64_t>(rank), static_cast<std::int64_t>(hits.size())})};
}

Values compress(NodeCall& c) {
  const std::vector<std::int64_t> keep = c.integers(1);
  Tensor x = c[0];
  int axis = 0;
  if (c.has_attribute("axis"))
    axis = c.axis("axis", 0, x.rank());
  else
    x = x.flatten();
  const std::int64_t size = x.size(axis).value();
  Sizes places;
  for (std::size_t i = 0; i < keep.size(); ++i) {
    if (keep[i] == 0) continue;
    if (static_cast<std::int64_t>(i) >= size)
      c.fail("the condition keeps position {} of {}", i, size);
    places.push_back(static_cast<std::int64_t>(i));
  }
  return {like(c, x.index_select(axis, tensor(places)))};
}

// Slices of an axis in the host's memory: [outer, size, inner] elements of `width` bytes.
struct Slices {
  std::size_t outer, size, inner;
  std::vector<double> values;
  int compare(std::size_t a, std::size_t b) const {
    for (std::size_t o = 0; o < outer; ++o) {
      for (std::size_t i = 0; i < inner; ++i) {
        const double x = values[(o * size + a) * inner + i];
        const double y = values[(o * size + b) * inner + i];
        if (x < y) return -1;
        if (y < x) return 1;
      }
    }
    return 0;
  }
};

Values unique(NodeCall& c) {
  HostTensor x = c.host(0);
  const bool flat = !c.has_attribute("axis");
  if (flat) x.shape = {product(x.shape)};
  const auto axis =
      static_cast<std::size_t>(c.axis("axis", 0, static_cast<std::int64_t>(x.shape.size())));
  const Slices slices{static_cast<std::size_t>(product(x.shape, 0, axis)),
                      static_cast<std::size_t>(x.shape[axis]),
                      static_cast<std::size_t>(product(x.shape, axis + 1)), numbers_of(x)};
  std::vector<std::size_t> order(slices.size);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](auto a, auto b) { return slices.compare(a, b) < 0; });
  struct Group {
    std::size_t first;
    std::int64_t count;
  };
  std::vector<Group> groups;
  std::vector<std::size_t> group_of(slices.size);
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (i == 0 || slices.compare(order[i - 1], order[i]) != 0) groups.push_back({order[i], 0});
    ++groups.back().count;
    group_of[order[i]] = groups.size() - 1;
  }
  std::vector<std::size_t> rank(groups.size());
  std::iota(rank.begin(), rank.end(), 0);
  if (c.integer("sorted", 1) == 0)
    std::sort(rank.begin(), rank.end(),
              [&](auto a, auto b) { return groups[a].first < groups[b].first; });
  Sizes places, counts, inverse(slices.size);
  std::vector<std::int64_t> new_place(groups.size());
  for (std::size_t i = 0; i < rank.size(); ++i) {
    places.push_back(static_cast<std::int64_t>(groups[rank[i]].first));
    counts.push_back(groups[rank[i]].count);
    new_place[rank[i]] = static_cast<std::int64_t>(i);
  }
  for (std::size_t i = 0; i < slices.size; ++i) inverse[i] = new_place[group_of[i]];
  const Tensor source = Value(x).tensor();
  return {Value(source.index_select(static_cast<int>(axis), tensor(places)), x.type),
          host_integers(places), host_integers(inverse), host_integers(counts)};
}

struct Box {
  double y0, x0, y1, x1;
  double area() const { return (y1 - y0) * (x1 - x0); }
};

double overlap(const Box& a, const Box& b) {
  const double height = std::min(a.y1, b.y1) - std::max(a.y0, b.y0);
  const double width = std::min(a.x1, b.x1) - std::max(a.x0, b.x0);
  if (height <= 0 || width <= 0) return 0;
  return height * width / (a.area() + b.area() - height * width);
}

// boxes [batch, count, 4], scores [batch, classes, count].
Values non_max_suppression(NodeCall& c) {
  const HostTensor boxes = c.host(0);
  const HostTensor scores = c.host(1);
  if (boxes.shape.size() != 3 || boxes.shape[2] != 4 || scores.shape.size() != 3 ||
      scores.shape[0] != boxes.shape[0] || scores.shape[2] != boxes.shape[1])
    c.fail("wants boxes [batch, count, 4] and scores [batch, classes, count]");
  const std::int64_t most = c.has(2) ? c.integer(std::size_t{2}) : 0;
  const double overlap_limit = c.has(3) ? c.number(std::size_t{3}) : 0;
  const bool has_least = c.has(4);
  const double least = has_least ? c.number(std::size_t{4}) : 0;
  const bool centred = c.integer("center_point_box", 0) != 0;
  const auto corners = numbers_of(boxes);
  const auto points = numbers_of(scores);
  const auto count = static_cast<std::size_t>(boxes.shape[1]);
  const auto box_of = [&](std::int64_t batch, std::size_t i) -> Box {
    const double* v = &corners[(static_cast<std::size_t>(batch) * count + i) * 4];
    if (centred) return {v[1] - v[3] / 2, v[0] - v[2] / 2, v[1] + v[3] / 2, v[0] + v[2] / 2};
    return {std::min(v[0], v[2]), std::min(v[1], v[3]), std::max(v[0], v[2]), std::max(v[1], v[3])};
  };
  Sizes chosen;
  for (std::int64_t batch = 0; batch < scores.shape[0]; ++batch) {
    for (std::int64_t one = 0; one < scores.shape[1]; ++one) {
      const auto start = static_cast<std::size_t>(batch * scores.shape[1] + one) * count;
      std::vector<std::size_t> order;
      for (std::size_t i = 0; i < count; ++i) {
        if (!has_least || points[start + i] > least) order.push_back(i);
      }
      std::stable_sort(order.begin(), order.end(),
                       [&](auto a, auto b) { return points[start + a] > points[start + b]; });
      std::vector<Box> kept;
      for (const std::size_t i : order) {
        if (static_cast<std::int64_t>(kept.size()) >= most) break;
        const Box box = box_of(batch, i);
        const bool hidden = std::any_of(kept.begin(), kept.end(), [&](const Box& k) {
          return overlap(k, box) > overlap_limit;
        });
        if (hidden) continue;
        kept.push_back(box);
        chosen.insert(chosen.end(), {batch, one, static_cast<std::int64_t>(i)});
      }
    }
  }
  return {host_tensor(chosen, {static_cast<std::int64_t>(chosen.size() / 3), 3})};
}

// How often each n-gram of the pool is in each row, with up to max_skip_count tokens left out
// between its tokens.
Values tfidf(NodeCall& c) {
  if (c.has_attribute("pool_strings")) c.fail("pools of strings are not supported");
  const Sizes pool = c.integers("pool_int64s");
  const Sizes starts = c.integers("ngram_counts");
  const Sizes places = c.integers("ngram_indexes");
  const auto weights = c.numbers("weights");
  const std::string mode = c.text("mode", "TF");
  const std::int64_t least = c.integer("min_gram_length", 1);
  const std::int64_t most = c.integer("max_gram_length", 1);
  const std::int64_t skips = c.integer("max_skip_count", 0);
  const HostTensor x = c.host(0);
  const Sizes tokens = integers_of(x);
  if (x.shape.empty() || x.shape.size() > 2 || places.empty())
    c.fail("wants one or two axes and a pool");
  const std::int64_t rows = x.shape.size() == 2 ? x.shape[0] : 1;
  const std::int64_t length = x.shape.back();
  const std::int64_t width = *std::max_element(places.begin(), places.end()) + 1;
  element_count({rows, width}, "its result");
  if (rows * width > (1 << 28) || starts.empty())
    c.fail("its result is too large, or it has no counts");
  for (const std::int64_t start : starts) {
    if (start < 0) c.fail("ngram_counts has {}", start);
  }
  std::vector<float> result(static_cast<std::size_t>(rows * width));
  std::size_t gram = 0;
  for (std::size_t n = 1; n <= starts.size(); ++n) {
    const auto begin = static_cast<std::size_t>(starts[n - 1]);
    const auto end = n < starts.size() ? static_cast<std::size_t>(starts[n]) : pool.size();
    for (std::size_t at = begin; at + n <= end && end <= pool.size(); at += n, ++gram) {
      const auto size = static_cast<std::int64_t>(n);
      if (size < least || size > most) continue;
      if (gram >= places.size()) c.fail("ngram_indexes is too short");
      std::int64_t place = places[gram];
      if (place < 0) c.fail("ngram_indexes has {}", place);
      for (std::int64_t row = 0; row < rows; ++row) {
        for (std::int64_t skip = 0; skip <= (n == 1 ? 0 : skips); ++skip) {
          for (std::int64_t i = 0; i + (size - 1) * (skip + 1) < length; ++i) {
            bool same = true;
            for (std::int64_t k = 0; k < size && same; ++k)
              same = tokens[static_cast<std::size_t>(row * length + i + k * (skip + 1))] ==
                     pool[at + static_cast<std::size_t>(k)];
            if (same) result[static_cast<std::size_t>(row * width + place)] += 1;
          }
        }
      }
    }
  }
  for (std::size_t i = 0; i < result.size(); ++i) {
    float weight = 1;
    const auto column = static_cast<std::int64_t>(i) % width;
    for (std::size_t g = 0; g < places.size() && g < weights.size(); ++g) {
      if (places[g] == column) weight = static_cast<float>(weights[g]);
    }
    if (mode == "IDF")
      result[i] = result[i] > 0 ? weight : 0;
    else if (mode == "TFIDF")
      result[i] *= weight;
  }
  Sizes shape = {width};
  if (x.shape.size() == 2) shape.insert(shape.begin(), rows);
  return {host_tensor(result, shape)};
}

}  // namespace

void add_selection(OperatorTable& t) {
  t.add("TopK", top_k);
  t.add("NonZero", non_zero);
  t.add("Compress", compress);
  t.add("Unique", unique);
  t.add("NonMaxSuppression", non_max_suppression);
  t.add("TfIdfVectorizer", tfidf);
}

}  // namespace brisk::onnx

#include "optimize/attention_form.h"

#include <limits>

#include "graph/integer.h"
#include "optimize/analysis.h"

namespace brisk {

namespace {

Node with(const Node& expression, const Node& from, const Node& to) {
  Substitution memo = {{from, to}};
  return substitute(expression, memo);
}

bool has(const Node& expression, const Node& part) {
  for (const Node& node : topological_order({&expression, 1})) {
    if (node == part) return true;
  }
  return false;
}

}  // namespace

Node AttentionForm::last_key() const {
  if (!argument.is(Op::where_)) return {};
  Node condition = argument.src(0);
  const bool negated = condition.is(Op::cmpne_) && condition.src(1).is_constant(1);
  if (negated) condition = condition.src(0);
  const Node& hidden = argument.src(negated ? 2 : 1);
  const bool causal = condition.is(Op::cmplt_) && condition.src(1) == key &&
                      !depends_on(condition.src(0), key) && hidden.is_constant() &&
                      hidden.float_value() == -std::numeric_limits<double>::infinity() &&
                      is_integer(condition.src(0).dtype()) && bounds(condition.src(0)).least >= 0;
  return causal ? condition.src(0) : Node();
}

std::optional<AttentionForm> attention_form(const Part& part) {
  AttentionForm form;
  if (part.stages[0].stores.size() != 1) return std::nullopt;
  const Node& store = part.stages[0].stores[0];
  if (store.srcs().size() != 3) return std::nullopt;
  for (const Node& node : find_all({store.src(2)}, Op::reduce_)) {
    if (node.srcs().size() != 2 || node.dtype() != DType::float32) return std::nullopt;
    const bool is_max = static_cast<ReduceOp>(node.ints(0)) == ReduceOp::max;
    if (!is_max && static_cast<ReduceOp>(node.ints(0)) != ReduceOp::add) return std::nullopt;
    if (is_max) form.greatest = node;
    form.total = node;  // sources come first: the last is the outermost
  }
  if (!form.greatest || !form.total.src(0).is(Op::mul_)) return std::nullopt;
  form.weighted = form.total;
  form.key = form.weighted.src(1);
  form.weight = form.weighted.src(0).src(0);
  form.value = form.weighted.src(0).src(1);
  if (!has(form.weight, form.greatest)) std::swap(form.weight, form.value);
  if (!has(form.weight, form.greatest) || has(form.value, form.greatest)) return std::nullopt;
  // Σ exp(score - greatest), and the scores as the weights have them.
  form.total = {};
  for (const Node& node : find_all({form.weight}, Op::reduce_)) {
    if (node == form.greatest) continue;
    if (has(node.src(0), form.greatest)) {
      if (form.total) return std::nullopt;
      form.total = node;
    }
  }
  if (!form.total) return std::nullopt;
  form.exponential = with(form.total.src(0), form.total.src(1), form.key);
  form.argument = with(form.greatest.src(0), form.greatest.src(1), form.key);
  if (!has(form.weight, form.exponential) || !has(form.exponential, form.argument))
    return std::nullopt;
  // Scratch holds the scores, then the exponentials: the weights may ask for nothing before them.
  const Node known = constant_float(0);
  Substitution last = {{form.exponential, known}, {form.total, known}};
  Substitution first = {{form.argument, known}, {form.greatest, known}};
  if (!find_all({substitute(form.weight, last)}, Op::reduce_).empty() ||
      !find_all({substitute(form.exponential, first)}, Op::reduce_).empty()) {
    return std::nullopt;
  }
  for (const Node& node : find_all({form.argument}, Op::reduce_)) {
    if (form.score) return std::nullopt;
    form.score = node;
  }
  if (!form.score || !form.score.src(0).is(Op::mul_) || !depends_on(form.score, form.key))
    return std::nullopt;
  form.query = form.score.src(0).src(0);
  form.keys = form.score.src(0).src(1);
  if (!depends_on(form.keys, form.key)) std::swap(form.query, form.keys);
  if (depends_on(form.query, form.key) || !depends_on(form.keys, form.key)) return std::nullopt;
  for (const Node& range : part.outer) {
    if (range == part.outer.back()) {
      if (depends_on(form.weight, range) || !depends_on(form.value, range)) return std::nullopt;
      if (stride(store.src(1), range) != 1) return std::nullopt;
      form.column = range;
    } else if (depends_on(form.value, range) || depends_on(form.keys, range)) {
      form.batch.push_back(range);
    } else {
      form.rows.push_back(range);
    }
  }
  const bool constant = form.column && Size(form.column.src(0)).is_constant() &&
                        Size(form.score.src(1).src(0)).is_constant();
  return constant ? std::optional(form) : std::nullopt;
}

}  // namespace brisk

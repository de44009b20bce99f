#include "optimize/attention_form.h"

#include <algorithm>
#include <limits>

#include "optimize/analysis.h"

namespace brisk {

namespace {

// Σ exp(argument - greatest), and both as the weights have them.
bool find_softmax(AttentionForm& form) {
  for (const Node& node : find_all({form.weight}, Op::reduce_)) {
    if (node == form.greatest || !depends_on(node.src(0), form.greatest)) continue;
    if (form.total) return false;
    form.total = node;
  }
  if (!form.total) return false;
  form.exponential = with(form.total.src(0), form.total.src(1), form.key);
  form.argument = with(form.greatest.src(0), form.greatest.src(1), form.key);
  if (!depends_on(form.weight, form.exponential) || !depends_on(form.exponential, form.argument))
    return false;
  // The weights ask for nothing before the exponentials, these for nothing before the argument.
  const Node known = constant_float(0);
  Substitution last = {{form.exponential, known}, {form.total, known}};
  Substitution first = {{form.argument, known}, {form.greatest, known}};
  return find_all({substitute(form.weight, last)}, Op::reduce_).empty() &&
         find_all({substitute(form.exponential, first)}, Op::reduce_).empty();
}

bool find_scores(AttentionForm& form) {
  for (const Node& node : find_all({form.argument}, Op::reduce_)) {
    if (form.score) return false;
    form.score = node;
  }
  if (!form.score || !form.score.src(0).is(Op::mul_) || !depends_on(form.score, form.key))
    return false;
  form.width = form.score.src(1);
  form.query = form.score.src(0).src(0);
  form.keys = form.score.src(0).src(1);
  if (!depends_on(form.keys, form.key)) std::swap(form.query, form.keys);
  return !depends_on(form.query, form.key) && depends_on(form.keys, form.key);
}

bool classify_ranges(AttentionForm& form, const Part& part) {
  const Node& store = part.stages[0].stores[0];
  for (const Node& range : part.outer) {
    if (form.weighted && range == part.outer.back()) {
      if (depends_on(form.weight, range) || !depends_on(form.value, range)) return false;
      if (stride(store.src(1), range) != 1) return false;
      form.column = range;
    } else if ((form.value && depends_on(form.value, range)) || depends_on(form.keys, range)) {
      form.batch.push_back(range);
    } else {
      form.rows.push_back(range);
    }
  }
  if (form.weighted && !(form.column && Size(form.column.src(0)).is_constant())) return false;
  return Size(form.width.src(0)).is_constant();
}

bool find_totals_stores(AttentionForm& form, const std::vector<Node>& stores) {
  const Substitution known = {{form.total, constant_float(1)}, {form.greatest, constant_float(0)}};
  for (std::size_t i = 1; i < stores.size(); ++i) {
    Substitution memo = known;
    const Node rest = substitute(stores[i], memo);
    if (stores[i].srcs().size() != 3 || is_scatter(stores[i]) || depends_on(rest, form.column) ||
        !find_all({rest}, Op::reduce_).empty()) {
      return false;
    }
    form.totals_stores.push_back(stores[i]);
  }
  return true;
}

// The argument's condition that hides keys, and which of its sides it takes for those seen.
struct Hiding {
  Node last;
  Node seen;
};

Hiding hiding_of(const AttentionForm& form) {
  if (!form.argument.is(Op::where_)) return {};
  Node condition = form.argument.src(0);
  const bool negated = condition.is(Op::cmpne_) && condition.src(1).is_constant(1);
  if (negated) condition = condition.src(0);
  const Node& hidden = form.argument.src(negated ? 2 : 1);
  const bool causal = condition.is(Op::cmplt_) && condition.src(1) == form.key &&
                      !depends_on(condition.src(0), form.key) && hidden.is_constant() &&
                      hidden.float_value() == -std::numeric_limits<double>::infinity() &&
                      is_integer(condition.src(0).dtype()) && bounds(condition.src(0)).least >= 0;
  if (!causal) return {};
  return {condition.src(0), form.argument.src(negated ? 1 : 2)};
}

}  // namespace

Node AttentionForm::last_key() const { return hiding_of(*this).last; }
Node AttentionForm::seen() const { return hiding_of(*this).seen; }

Node AttentionForm::unrounded_weight() const {
  Node rest = weight;
  while (rest.is(Op::cast_)) rest = rest.src(0);
  return rest;
}

std::optional<AttentionForm> attention_form(const Part& part) {
  const std::vector<Node>& stores = part.stages[0].stores;
  const Node& store = stores[0];
  if (store.srcs().size() != 3) return std::nullopt;
  AttentionForm form;
  for (const Node& node : find_all({store.src(2)}, Op::reduce_)) {
    if (node.srcs().size() != 2 || node.dtype() != DType::float32) return std::nullopt;
    if (op_of(node) == ReduceOp::max) {
      form.greatest = node;
    } else if (op_of(node) != ReduceOp::add) {
      return std::nullopt;
    }
    form.weighted = node;  // sources come first: the last is the outermost
  }
  if (!form.greatest || !form.weighted.src(0).is(Op::mul_)) return std::nullopt;
  // What is made of the result asks for no other reduction.
  Substitution known = {{form.weighted, constant_float(0)}};
  if (!find_all({substitute(store.src(2), known)}, Op::reduce_).empty()) return std::nullopt;
  form.key = form.weighted.src(1);
  form.weight = form.weighted.src(0).src(0);
  form.value = form.weighted.src(0).src(1);
  if (!depends_on(form.weight, form.greatest)) std::swap(form.weight, form.value);
  if (!depends_on(form.weight, form.greatest) || depends_on(form.value, form.greatest))
    return std::nullopt;
  if (!find_all({form.value}, Op::reduce_).empty()) return std::nullopt;  // values are read
  if (!find_softmax(form) || !find_scores(form) || !classify_ranges(form, part) ||
      !find_totals_stores(form, stores))
    return std::nullopt;
  return form;
}

std::optional<AttentionForm> softmax_form(const Part& part) {
  if (part.stages[0].stores.size() != 1) return std::nullopt;
  const Node& store = part.stages[0].stores[0];
  if (store.srcs().size() != 3 || is_scatter(store)) return std::nullopt;
  AttentionForm form;
  const std::vector<Node> all = find_all({store.src(2)}, Op::reduce_);
  for (const Node& node : all) {
    if (node.srcs().size() != 2 || node.dtype() != DType::float32) return std::nullopt;
    if (op_of(node) == ReduceOp::max) form.greatest = node;
  }
  if (!form.greatest || op_of(all.back()) != ReduceOp::add) return std::nullopt;
  form.total = all.back();
  form.key = form.total.src(1);
  form.exponential = form.total.src(0);
  form.argument = with(form.greatest.src(0), form.greatest.src(1), form.key);
  const Node known = constant_float(0);
  Substitution first = {{form.argument, known}, {form.greatest, known}};
  Substitution last = {{form.total, known}, {form.greatest, known}};
  if (!depends_on(form.exponential, form.argument) ||
      !find_all({substitute(form.exponential, first)}, Op::reduce_).empty() ||
      !find_all({substitute(store.src(2), last)}, Op::reduce_).empty() || !find_scores(form) ||
      !classify_ranges(form, part)) {
    return std::nullopt;
  }
  return form;
}

}  // namespace brisk

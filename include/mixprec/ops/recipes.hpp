// SPDX-License-Identifier: Apache-2.0
// Results that backward computes again in place of keeping them: their recipes, who owns these, and what they cost.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>

#include <mixprec/autograd/session.hpp>
#include <mixprec/autograd/trace.hpp>
#include <mixprec/tensor/tensor.hpp>

namespace mixprec::inline MIXPREC_ABI::detail {

/// The shape alone.
template <class B, class T, int Rank>
Tensor<B, T, Rank> without_memory(Tensor<B, T, Rank> const& tensor) {
  return {{}, nullptr, tensor.shape()};
}

/// Whether `storage` need not be kept by what runs in `session` now. Results of earlier passes and of other models must
/// be: whoever runs their recipes would read parameters that have changed since.
constexpr bool runs_again_in(Session<Meta> const&, Storage<Meta> const& storage) { return storage.has_recipe(); }
template <class B>
bool runs_again_in(Session<B> const& session, Storage<B> const& storage) {
  auto const recipe = storage.recipe();
  return recipe != nullptr && recipe->session == &session && recipe->tape == session.tape();
}

/// What an op's node keeps to compute operands again: nothing, unless the policy asks for it.
template <class B, std::size_t Operands, bool Again>
struct KeptRecipes {
  static auto const& keep(Session<B> const&, std::size_t, auto const& operand) { return operand; }
  void run(Session<B>&, auto&) const {}
};
template <class B, std::size_t Operands>
struct KeptRecipes<B, Operands, true> {
  /// The operand as it is kept: with its recipe here in place of its memory, where it has one.
  template <class T, int Rank>
  Tensor<B, T, Rank> keep(Session<B> const& session, std::size_t at, Tensor<B, T, Rank> const& operand) {
    if (!runs_again_in(session, operand.storage())) return operand;
    recipes[at] = operand.storage().recipe();
    return without_memory(operand);
  }
  /// Gives memory and values to those of `operands` that were not kept.
  template <class... Operand>
  void run(Session<B>& session, std::tuple<Operand...>& operands) const {
    std::size_t at = 0;
    auto const compute = [&]<class T, int Rank>(Tensor<B, T, Rank>& operand) {
      if (auto const& recipe = recipes[at++]) {
        operand = session.template allocate<T>(operand.shape());
        recipe->run(session, operand.data());
      }
    };
    std::apply([&](Operand&... operand) { (compute(operand), ...); }, operands);
  }
  std::array<std::shared_ptr<Recipe<B> const>, Operands> recipes;
};

/// The recipe of an op's result.
template <class B, class Op, class Result, class Saved, class... Operand>
struct OpRecipe final : Recipe<B> {
  OpRecipe(Session<B> const& session, Op const& the_op, Shape<Result::rank> extents, Saved const& the_saved,
           Operand const&... operand)
      : Recipe<B>(&session, session.tape()), op(the_op), shape(extents), saved(the_saved) {
    std::size_t at = 0;
    auto const keep = [&](auto const& tensor) { return recipes.keep(session, at++, tensor); };
    operands = std::tuple<Operand...>{keep(operand)...};
    for (auto const& recipe : recipes.recipes) this->depth += recipe ? recipe->depth : 0;
  }
  void run(Session<B>& session, void* to) const override {
    Result const result({}, static_cast<typename Result::dtype*>(to), shape);
    auto read = operands;
    recipes.run(session, read);
    std::apply([&](Operand const&... operand) { op.again(session, result, saved, operand...); }, read);
  }
  Op op;
  Shape<Result::rank> shape;
  Saved saved;
  std::tuple<Operand...> operands;
  KeptRecipes<B, sizeof...(Operand), true> recipes;
};

/// The most blocks that are computed again to give one: a norm, the widening convolution that reads it, and the norm
/// behind that.
inline constexpr int deepest_recipe = 3;

/// The blocks that would have to be computed again to give this one.
constexpr int recipe_depth(Session<Meta> const&, Storage<Meta> const& storage) { return storage.recipe_depth(); }
template <class B>
int recipe_depth(Session<B> const& session, Storage<B> const& storage) {
  return runs_again_in(session, storage) ? storage.recipe()->depth : 0;
}

/// Owns the recipe of an op's result. It stands below the op on the tape, so that the recipe outlives all who read it.
template <class B>
struct RecipeNode final : TapeNode<B> {
  void backward(Session<B>&) override {}
  std::shared_ptr<Recipe<B> const> recipe;
};

/// Lets go of an op's result before backward: whoever keeps it keeps how to compute it again.
template <class B, class Op, class Result, class Saved, class... Operand>
constexpr void give_recipe(Session<B>& session, Op const& op, unsigned needs, Result const& result, Saved const& saved,
                           Operand const&... operand) {
  int const depth = (1 + ... + recipe_depth(session, operand.tensor.storage()));
  if (depth > deepest_recipe || !op.worth_again(needs, operand.shape...)) return;
  if constexpr (std::is_same_v<B, Meta>) {
    std::int64_t bytes = 0;
    auto const add = [&](Storage<Meta> const& storage) {
      if (storage.has_recipe()) bytes += storage.rounded() + storage.recipe_bytes();
    };
    (add(operand.tensor.storage()), ...);
    result.storage().set_recipe(depth, bytes);
  } else {
    using Again = OpRecipe<B, Op, Result, Saved, typename Operand::tensor_type...>;
    auto node = std::make_unique<RecipeNode<B>>();
    node->recipe = std::make_shared<Again const>(session, op, result.shape(), saved, operand.tensor...);
    result.storage().set_recipe(node->recipe);
    session.push_node(std::move(node));
  }
}

/// The bytes that keeping a block costs: none where it is computed again, or kept already.
template <class B>
constexpr std::int64_t kept_bytes(Session<B> const& session, Storage<B> const& storage) {
  return runs_again_in(session, storage) ? 0 : static_cast<std::int64_t>(storage.keep());
}

}  // namespace mixprec::inline MIXPREC_ABI::detail

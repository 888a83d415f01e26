// SPDX-License-Identifier: Apache-2.0
// Labels of other extents than the resize's: the plan shows both values, though nothing is resized.
// expect-error: ExtentsDoNotFit<
// expect-error: AtLayer<'r', 'e', 's', 'i', 'z', 'e'
// expect-error: Expected<32
// expect-error: Received<28
#include <mixprec/nn/containers.hpp>
#include <mixprec/ops/resize_cross_entropy.hpp>
#include <mixprec/plan/plan.hpp>

using namespace mixprec;

struct Loss {
  template <class Net, class X>
  constexpr auto operator()(Net const& net, X const& x) const {
#ifdef MIXPREC_CONTROL
    Tensor<Meta, std::int32_t, 3> const labels(Shape{2, 32, 32});
#else
    Tensor<Meta, std::int32_t, 3> const labels(Shape{2, 28, 32});
#endif
    return cross_entropy(resize(net(x), {32, 32}), labels);
  }
};

using Net = nn::Sequential<nn::Conv2d<3, 4, 3>>;
static_assert(plan<Net, Fp32, Shape{2, 3, 10, 10}, PlanOptions{}, Loss>.rows() == 2);

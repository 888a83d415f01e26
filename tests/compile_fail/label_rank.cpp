// SPDX-License-Identifier: Apache-2.0
// One label an image for logits at every pixel.
// expect-error: mixprec: cross_entropy: one label a row needs logits of shape (N,V).
#include <mixprec/nn/containers.hpp>
#include <mixprec/plan/plan.hpp>

using namespace mixprec;

struct Loss {
  template <class Net, class X>
  constexpr auto operator()(Net const& net, X const& x) const {
#ifdef MIXPREC_CONTROL
    return cross_entropy(net(x), Tensor<Meta, std::int32_t, 3>(Shape{2, 8, 8}));
#else
    return cross_entropy(net(x), Tensor<Meta, std::int32_t, 1>(Shape{2}));
#endif
  }
};

using Net = nn::Sequential<nn::Conv2d<3, 4, 3>>;
static_assert(plan<Net, Fp32, Shape{2, 3, 10, 10}, PlanOptions{}, Loss>.rows() == 2);

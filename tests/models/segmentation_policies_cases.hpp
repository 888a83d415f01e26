// SPDX-License-Identifier: Apache-2.0
// A segmentation model under the policies that cast a model as a whole, beside those that cast op by op: at its border
// the casts change the logits of both heads.
#pragma once

#include <mixprec/models/fcn.hpp>

#include "segmentation_run.hpp"

namespace mixprec::test {

using SmallFcn = models::Fcn<SmallBackbone, segmentation_classes, 16>;

TEST_CASE("FCN has the plan's rows also where the policy casts the model as a whole") {
  for_some_policies([&]<class Policy>() { check_segmentation_rows<SmallFcn, Policy, TestBackend>(); });
}

TEST_CASE("FCN casts the images where it computes in another dtype, and both heads' logits where they are cast back") {
  for_some_policies([&]<class Policy>() {
    constexpr auto const& planned = plan<SmallFcn, Policy, segmentation_input, PlanOptions{}, models::SegmentationLoss>;
    int const images = Policy::low == DType::float32 ? 0 : 1, logits = Policy::casts_output ? 2 : 0;
    CHECK_EQ(planned.materialized_casts(), images + logits);
  });
}

}  // namespace mixprec::test

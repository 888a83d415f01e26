// SPDX-License-Identifier: Apache-2.0
// Evaluation of the example `segment`, with networks that are a formula: views must come back to where they were.
#include "../../examples/segment/evaluate.cpp"

#include <doctest/doctest.h>

namespace {

namespace mp = mixprec;

/// Normalised with this, a pixel is its byte.
mp::ChannelStatistics const as_bytes{{0, 0, 0}, {1.0 / 255, 1.0 / 255, 1.0 / 255}};

/// Reads the class off the red channel, 40 a class, and keeps count of what it is asked.
class ColourReader final : public segment::Segmenter {
 public:
  explicit ColourReader(int outputs) : outputs_(outputs) {}
  int outputs() const override { return outputs_; }
  std::vector<std::int32_t> classes(std::span<float const> image, mp::ImageExtent extent) override {
    return mp::predicted_classes(std::span<float const>(logits(image, extent)), outputs_);
  }
  std::vector<float> logits(std::span<float const> image, mp::ImageExtent extent) override {
    REQUIRE(image.size() == 3 * extent.pixels());
    seen.push_back(extent);
    std::vector<float> result;
    for (std::size_t pixel = 0; pixel < extent.pixels(); ++pixel)
      for (int c = 0; c < outputs_; ++c) result.push_back(-std::abs(image[3 * pixel] - 40.0f * static_cast<float>(c)));
    return result;
  }
  std::vector<mp::ImageExtent> seen;

 private:
  int outputs_;
};

/// Label 0 left of a slanted border and 1 right of it, 2 in a corner; the red channel says which. `wrong` pixels of
/// class 0 are labelled 1.
mp::SegmentationSample slanted(mp::ImageExtent extent, int wrong = 0) {
  mp::SegmentationSample sample{{extent.height, extent.width, 3, {}}, {extent.height, extent.width, {}}};
  for (int y = 0; y < extent.height; ++y) {
    for (int x = 0; x < extent.width; ++x) {
      int const label = y > extent.height * 2 / 3 && x < extent.width / 4 ? 2 : x > extent.width / 3 + y / 4 ? 1 : 0;
      sample.labels.values.push_back(static_cast<std::uint8_t>(label == 0 && wrong-- > 0 ? 1 : label));
      sample.image.pixels.insert(sample.image.pixels.end(), {static_cast<std::uint8_t>(40 * label), 0, 255});
    }
  }
  return sample;
}

segment::DataSet data_of(std::vector<mp::SegmentationSample> samples) {
  return {
      mp::SegmentationMemory({}, 3), mp::SegmentationMemory(std::move(samples), 3), {"left", "right", "corner"}, ""};
}

TEST_CASE("evaluation by whole images and by windows gives every pixel its own class") {
  segment::DataSet const data = data_of({slanted({31, 47}), slanted({20, 20})});
  for (bool const slide : {false, true}) {
    ColourReader network(3);
    segment::Settings settings;
    settings.crop = {16, 24};
    settings.slide = slide;
    std::vector<mp::LabelMap> samples;
    segment::Evaluation const result = segment::evaluate(network, data, as_bytes, settings, &samples);
    CHECK(result.mean_iou == 1.0);
    CHECK(result.accuracy == 1.0);
    CHECK(network.seen.front() == (slide ? mp::ImageExtent{16, 24} : mp::ImageExtent{31, 47}));
    REQUIRE(samples.size() == 2);
    CHECK(samples[0].values == data.val.load(0).labels.values);
    CHECK(samples[1].values == data.val.load(1).labels.values);
  }
}

TEST_CASE("evaluation at several scales, mirrored and not, brings the views back to the image") {
  mp::ImageExtent const extent{36, 60};
  segment::DataSet const data = data_of({slanted(extent)});
  for (bool const slide : {false, true}) {
    ColourReader network(3);
    segment::Settings settings;
    settings.crop = {20, 20};
    settings.slide = slide;
    settings.test_scales = true;
    std::vector<mp::LabelMap> samples;
    (void)segment::evaluate(network, data, as_bytes, settings, &samples);
    if (!slide) {
      CHECK(network.seen == std::vector<mp::ImageExtent>{{27, 45}, {27, 45}, {36, 60}, {36, 60}, {45, 75}, {45, 75}});
    }
    // Scaling blends pixels across a border of classes, but none that is three pixels away from it.
    auto const& labels = data.val.load(0).labels.values;
    int inside = 0;
    for (int y = 0; y < extent.height; ++y) {
      for (int x = 0; x < extent.width; ++x) {
        bool near = false;
        auto const at = [&](int row, int column) {
          return labels[static_cast<std::size_t>(row * extent.width + column)];
        };
        for (int row = std::max(0, y - 3); row <= std::min(extent.height - 1, y + 3); ++row)
          for (int column = std::max(0, x - 3); column <= std::min(extent.width - 1, x + 3); ++column)
            near = near || at(row, column) != at(y, x);
        if (near) continue;
        ++inside;
        CHECK(samples[0].values[static_cast<std::size_t>(y * extent.width + x)] == at(y, x));
      }
    }
    CHECK(inside > 1000);
  }
}

TEST_CASE("evaluation counts errors, leaves out ignored pixels, and takes the mean over the data set's classes only") {
  mp::SegmentationSample sample = slanted({30, 40}, 100);
  std::size_t const pixels = sample.labels.values.size();
  // These would be wrong, too, if they counted.
  sample.labels.values.back() = mp::ignored_label;
  std::array<double, 3> labelled{}, right{}, predicted{};
  for (std::size_t i = 0; i + 1 < pixels; ++i) {
    auto const label = sample.labels.values[i];
    auto const read = static_cast<std::size_t>(sample.image.pixels[3 * i] / 40);
    ++labelled[label], ++predicted[read];
    if (label == read) ++right[label];
  }
  std::array<double, 3> iou;
  for (std::size_t c = 0; c < 3; ++c) iou[c] = right[c] / (labelled[c] + predicted[c] - right[c]);
  // Two outputs more than the set has classes: one is never predicted, and one takes a pixel of class 2.
  sample.image.pixels[3 * (pixels - 40 * 2)] = 120;
  REQUIRE(sample.labels.values[pixels - 40 * 2] == 2);
  iou[2] -= 1 / labelled[2];
  ColourReader network(5);
  segment::Evaluation const result = segment::evaluate(network, data_of({sample}), as_bytes, {}, nullptr);
  REQUIRE(result.class_iou.size() == 3);
  for (std::size_t c = 0; c < 3; ++c) CHECK(result.class_iou[c] == doctest::Approx(iou[c]).epsilon(1e-12));
  CHECK(result.mean_iou == doctest::Approx((iou[0] + iou[1] + iou[2]) / 3).epsilon(1e-12));
  CHECK(result.confusion.size() == 25);
  CHECK(result.confusion[1 * 5 + 0] == 100);
  CHECK(result.confusion[2 * 5 + 3] == 1);
}

}  // namespace

// SPDX-License-Identifier: Apache-2.0
// A history as JSON text.
#include "history.hpp"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include <mixprec/error.hpp>

namespace segment {
namespace {

// JSON has no NaN: null stands for every number that is not finite.
std::vector<double> numbers(nlohmann::json const& json) {
  std::vector<double> result;
  for (auto const& number : json)
    result.push_back(number.is_null() ? std::numeric_limits<double>::quiet_NaN() : number.get<double>());
  return result;
}

double number(nlohmann::json const& json) {
  return json.is_null() ? std::numeric_limits<double>::quiet_NaN() : json.get<double>();
}

}  // namespace

std::string to_text(History const& history) {
  nlohmann::json json{{"losses", history.losses},   {"scales", history.scales},
                      {"skipped", history.skipped}, {"milliseconds", history.milliseconds},
                      {"peak", history.peak_bytes}, {"evaluations", nlohmann::json::array()}};
  for (Evaluation const& evaluation : history.evaluations) {
    json["evaluations"].push_back({{"epoch", evaluation.epoch},
                                   {"mean_iou", evaluation.mean_iou},
                                   {"accuracy", evaluation.accuracy},
                                   {"mean_accuracy", evaluation.mean_accuracy},
                                   {"class_iou", evaluation.class_iou},
                                   {"confusion", evaluation.confusion},
                                   {"seconds", evaluation.seconds}});
  }
  return json.dump();
}

History history_from_text(std::string const& text) {
  try {
    auto const json = nlohmann::json::parse(text);
    History history{numbers(json.at("losses")),
                    numbers(json.at("scales")),
                    numbers(json.at("milliseconds")),
                    {},
                    json.at("skipped"),
                    json.at("peak")};
    for (auto const& evaluation : json.at("evaluations")) {
      history.evaluations.push_back({evaluation.at("epoch"), number(evaluation.at("mean_iou")),
                                     number(evaluation.at("accuracy")), number(evaluation.at("mean_accuracy")),
                                     numbers(evaluation.at("class_iou")), evaluation.at("confusion"),
                                     number(evaluation.at("seconds"))});
    }
    return history;
  } catch (nlohmann::json::exception const& error) {
    throw mixprec::Error(std::string("the checkpoint's history cannot be read: ") + error.what() +
                         ". Start without --resume.");
  }
}

}  // namespace segment

// The smallest program on brisk: the softmax of two rows, and the sum of each, which must be one.
#include <brisk/brisk.h>

#include <cmath>
#include <cstdio>

int main() {
  const brisk::Tensor x = brisk::tensor({{1.0F, 2.0F, 3.0F}, {3.0F, 1.0F, 2.0F}});
  const brisk::Tensor y = brisk::softmax(x, -1);  // nothing is computed yet
  for (const float value : y.to_vector<float>()) std::printf("%.4f ", value);
  bool right = true;
  for (const float sum : brisk::sum(y, {-1}).to_vector<float>()) {
    right = right && std::fabs(sum - 1) < 1e-6F;
  }
  std::printf("from brisk %s\n", brisk::version);
  return right ? 0 : 1;
}

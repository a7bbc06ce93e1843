// A stand-in for cuBLAS in the simulator: column-major GemmEx with the
// library's meaning of leading dimensions, operations and dtypes, in plain
// loops with float32 sums. What it cannot do it refuses.
#include <cstddef>
#include <cstring>
#include <vector>

namespace {

enum { OK = 0, INVALID_VALUE = 7, NOT_SUPPORTED = 15 };
enum { R_32F = 0, R_16F = 2, R_16BF = 14 };
enum { COMPUTE_32F = 68, COMPUTE_32F_PEDANTIC = 69, COMPUTE_32F_FAST_TF32 = 77 };

float value(const void *p, size_t i, int type) {
  if (type == R_32F) return ((const float *)p)[i];
  unsigned u = (unsigned)((const unsigned short *)p)[i] << 16;
  float f;
  memcpy(&f, &u, 4);
  return f;
}

// unpack returns op(X) as rows × cols, row by row.
std::vector<float> unpack(const void *p, int ld, int op, int type, int rows, int cols) {
  std::vector<float> out((size_t)rows * cols);
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < cols; j++) out[(size_t)i * cols + j] = value(p, op ? (size_t)i * ld + j : (size_t)j * ld + i, type);
  return out;
}

} // namespace

extern "C" {

int cublasCreate_v2(void **h) { static int handle; *h = &handle; return OK; }
int cublasDestroy_v2(void *) { return OK; }
int cublasSetStream_v2(void *, void *) { return OK; }
int cublasSetMathMode(void *, int) { return OK; }
int cublasSetWorkspace_v2(void *, void *, size_t) { return OK; }
int cublasGetVersion_v2(void *, int *v) { *v = 120000; return OK; }

int cublasGemmEx(void *, int opa, int opb, int m, int n, int k, const void *alpha, const void *a, int ta, int lda, const void *b, int tb, int ldb, const void *beta, void *c, int tc, int ldc, int compute, int) {
  if (m < 0 || n < 0 || k < 0 || lda < (opa ? k : m) || ldb < (opb ? n : k) || ldc < m || opa > 1 || opb > 1) return INVALID_VALUE;
  if (tc != R_32F || ta != tb || (ta != R_32F && ta != R_16BF) || (compute != COMPUTE_32F && compute != COMPUTE_32F_PEDANTIC && compute != COMPUTE_32F_FAST_TF32)) return NOT_SUPPORTED;
  float al = *(const float *)alpha, be = *(const float *)beta;
  std::vector<float> left = unpack(a, lda, opa, ta, m, k), right = unpack(b, ldb, !opb, tb, n, k);
  for (int j = 0; j < n; j++)
    for (int i = 0; i < m; i++) {
      const float *x = &left[(size_t)i * k], *y = &right[(size_t)j * k];
      float s[8] = {};
      int l = 0;
      for (; l + 8 <= k; l += 8)
        for (int t = 0; t < 8; t++) s[t] += x[l + t] * y[l + t];
      float sum = ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
      for (; l < k; l++) sum += x[l] * y[l];
      float *to = (float *)c + (size_t)j * ldc + i;
      *to = be == 0 ? al * sum : al * sum + be * *to;
    }
  return OK;
}

} // extern "C"

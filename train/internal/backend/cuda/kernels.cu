// The operations of backend.Backend as CUDA kernels. Parameters are pointers,
// 64-bit integers and floats. Kernels whose name begins with b_ use barriers;
// a block of them is TEAM threads. The others are one thread for each element
// and loop with the size of the grid. There are no atomics: a sum is added in
// an order that follows from the sizes alone. Products are rounded before they
// are added (-ffp-contract=off), as on the CPU.
#include "device.h"

typedef long long i64;
typedef unsigned short u16;

#define TEAM 128
#define ELEMENTS(n) (i64 at = (i64)blockIdx.x * blockDim.x + threadIdx.x; at < (n); at += (i64)gridDim.x * blockDim.x)
#define ROW(cols) (at / (cols))
#define COL(cols) (at % (cols))

// The dtypes of frozen weights.
enum { F32 = 0, BF16 = 1, F16 = 2 };

INLINE float half_to_float(unsigned h) {
  unsigned sign = (h & 0x8000u) << 16, exponent = (h >> 10) & 31, fraction = h & 0x3FF;
  if (exponent == 31) return float_of(sign | 0x7F800000u | fraction << 13);
  if (exponent) return float_of(sign | (exponent + 112) << 23 | fraction << 13);
  float small = (float)fraction * 5.9604644775390625e-8f; // 2^-24
  return sign ? -small : small;
}

INLINE float load(const void *p, i64 i, int dtype) {
  if (dtype == F32) return ((const float *)p)[i];
  unsigned h = ((const u16 *)p)[i];
  return dtype == BF16 ? float_of(h << 16) : half_to_float(h);
}

// e^x as in package cpu, bit for bit (Cephes expf).
INLINE float exp_of(float x) {
  if (x < -87.0f) return 0.0f;
  if (x > 88.0f) x = 88.0f;
  float t = x * 1.44269504088896341f + 12582912.0f; // 1.5 * 2^23 rounds
  float n = t - 12582912.0f;
  float r = x - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r;
  p = p + 1.0f;
  return float_of(bits_of(p) + (bits_of(t) << 23));
}

INLINE float sigmoid(float x) { return 1.0f / (1.0f + exp_of(-x)); }

INLINE float tanh_of(float x) {
  if (x > -0.03f && x < 0.03f) {
    float x2 = x * x;
    return x - (x * x2) * (1.0f / 3.0f - x2 * (2.0f / 15.0f));
  }
  return 2.0f * sigmoid(2.0f * x) - 1.0f;
}

KERNEL fill(float *x, i64 rows, i64 cols, i64 stride, float value) {
  for ELEMENTS(rows * cols) x[ROW(cols) * stride + COL(cols)] = value;
}

KERNEL copy(float *y, i64 ys, const void *x, i64 xs, i64 dtype, i64 rows, i64 cols) {
  for ELEMENTS(rows * cols) y[ROW(cols) * ys + COL(cols)] = load(x, ROW(cols) * xs + COL(cols), (int)dtype);
}

// to_bf16 rounds to nearest even.
KERNEL to_bf16(u16 *y, const float *x, i64 xs, i64 rows, i64 cols) {
  for ELEMENTS(rows * cols) {
    unsigned u = bits_of(x[ROW(cols) * xs + COL(cols)]);
    bool nan = (u & 0x7FFFFFFFu) > 0x7F800000u;
    y[at] = nan ? (u16)(u >> 16 | 0x40) : (u16)((u + 0x7FFFu + ((u >> 16) & 1)) >> 16);
  }
}

KERNEL add(float *y, i64 ys, const float *x, i64 xs, i64 rows, i64 cols, float alpha) {
  for ELEMENTS(rows * cols) {
    float *to = y + ROW(cols) * ys + COL(cols);
    *to = *to + alpha * x[ROW(cols) * xs + COL(cols)];
  }
}

KERNEL scale(float *x, i64 xs, i64 rows, i64 cols, float alpha) {
  for ELEMENTS(rows * cols) x[ROW(cols) * xs + COL(cols)] *= alpha;
}

KERNEL add_bias(float *y, i64 ys, const void *bias, i64 dtype, i64 rows, i64 cols) {
  for ELEMENTS(rows * cols) y[ROW(cols) * ys + COL(cols)] += load(bias, COL(cols), (int)dtype);
}

KERNEL scale_cols(float *y, i64 ys, const float *x, i64 xs, const void *s, i64 dtype, i64 rows, i64 cols) {
  for ELEMENTS(rows * cols) y[ROW(cols) * ys + COL(cols)] = x[ROW(cols) * xs + COL(cols)] * load(s, COL(cols), (int)dtype);
}

KERNEL divide(float *y, const float *x, const float *z, i64 n) {
  for ELEMENTS(n) y[at] = x[at] / z[at];
}

KERNEL swiglu_fwd(float *h, i64 hs, const float *g, i64 gs, const float *u, i64 us, i64 rows, i64 cols) {
  for ELEMENTS(rows * cols) {
    float x = g[ROW(cols) * gs + COL(cols)];
    h[ROW(cols) * hs + COL(cols)] = (x * sigmoid(x)) * u[ROW(cols) * us + COL(cols)];
  }
}

KERNEL swiglu_bwd(float *g, i64 gs, float *u, i64 us, const float *dh, i64 hs, i64 rows, i64 cols) {
  for ELEMENTS(rows * cols) {
    float *pg = g + ROW(cols) * gs + COL(cols), *pu = u + ROW(cols) * us + COL(cols);
    float x = *pg, v = *pu, a = sigmoid(x), d = dh[ROW(cols) * hs + COL(cols)];
    *pu = d * (x * a);
    *pg = ((d * v) * a) * (1.0f + x * (1.0f - a));
  }
}

#define GELU_ROOT 0.7978845608028654f
#define GELU_CUBIC 0.044715f

INLINE float gelu_tanh(float x) { return tanh_of(GELU_ROOT * (x + GELU_CUBIC * ((x * x) * x))); }

KERNEL gelu_fwd(float *y, i64 ys, const float *x, i64 xs, i64 rows, i64 cols) {
  for ELEMENTS(rows * cols) {
    float v = x[ROW(cols) * xs + COL(cols)];
    y[ROW(cols) * ys + COL(cols)] = (v / 2.0f) * (1.0f + gelu_tanh(v));
  }
}

KERNEL gelu_bwd(float *dy, i64 ds, const float *x, i64 xs, i64 rows, i64 cols) {
  for ELEMENTS(rows * cols) {
    float v = x[ROW(cols) * xs + COL(cols)], t = gelu_tanh(v);
    float inner = GELU_ROOT * (1.0f + (3.0f * GELU_CUBIC) * (v * v));
    dy[ROW(cols) * ds + COL(cols)] *= (1.0f + t) / 2.0f + (v / 2.0f) * (((1.0f - t) * (1.0f + t)) * inner);
  }
}

// rope has one thread for each pair.
KERNEL rope(float *x, i64 xs, const float *cosines, i64 cs, const float *sines, i64 ss, i64 dim, const int *positions, i64 rows, i64 cols, i64 inverse) {
  i64 pairs = cols / 2, half = dim / 2;
  for ELEMENTS(rows * pairs) {
    i64 row = at / pairs, pair = at % pairs, head = pair / half, j = pair % half;
    float c = cosines[positions[row] * cs + j], s = sines[positions[row] * ss + j];
    if (inverse) s = -s;
    float *p = x + row * xs + head * dim + j;
    float a = p[0], b = p[half];
    p[0] = a * c - b * s;
    p[half] = b * c + a * s;
  }
}

// philox4x32 with ten rounds, as backend.Philox4x32.
INLINE void philox(unsigned k0, unsigned k1, unsigned c[4]) {
  for (int i = 0; i < 10; i++) {
    unsigned h0 = high32(0xD2511F53u, c[0]), l0 = 0xD2511F53u * c[0];
    unsigned h1 = high32(0xCD9E8D57u, c[2]), l1 = 0xCD9E8D57u * c[2];
    unsigned n0 = h1 ^ c[1] ^ k0, n2 = h0 ^ c[3] ^ k1;
    c[0] = n0; c[1] = l1; c[2] = n2; c[3] = l0;
    k0 += 0x9E3779B9u; k1 += 0xBB67AE85u;
  }
}

KERNEL dropout(float *y, i64 ys, const float *x, i64 xs, i64 rows, i64 cols, i64 limit, float factor, i64 seed, i64 step, i64 site, i64 accumulate) {
  for ELEMENTS(rows * cols) {
    unsigned long long block = (unsigned long long)at / 4;
    unsigned c[4] = {(unsigned)block, (unsigned)(block >> 32), (unsigned)step, (unsigned)site};
    philox((unsigned)seed, (unsigned)((unsigned long long)seed >> 32), c);
    float v = x[ROW(cols) * xs + COL(cols)] * factor;
    if (c[at & 3] < (unsigned)limit) v = 0.0f;
    float *to = y + ROW(cols) * ys + COL(cols);
    *to = accumulate ? *to + v : v;
  }
}

KERNEL gather(float *y, i64 ys, const void *table, i64 ts, i64 dtype, const int *ids, i64 rows, i64 cols, i64 table_rows) {
  for ELEMENTS(rows * cols) {
    i64 id = ids[ROW(cols)];
    if (id >= 0 && id < table_rows) y[ROW(cols) * ys + COL(cols)] = load(table, id * ts + COL(cols), (int)dtype);
  }
}

// scatter has a thread for each column, which takes the rows in order; with
// clear it sets what it took to 0.
KERNEL scatter(float *table, i64 ts, float *dy, i64 ds, const int *ids, i64 rows, i64 cols, i64 table_rows, i64 clear) {
  for ELEMENTS(cols) {
    for (i64 i = 0; i < rows; i++) {
      i64 id = ids[i];
      if (id < 0 || id >= table_rows) continue;
      table[id * ts + at] += dy[i * ds + at];
      if (clear) dy[i * ds + at] = 0.0f;
    }
  }
}

// col_sum adds to each column's sum: the values of x, their products with y,
// or with statistics of a norm the products of x with the normalised y.
KERNEL col_sum(float *sum, const float *x, i64 xs, const float *y, i64 ys, const float *stat, i64 ss, i64 rows, i64 cols) {
  for ELEMENTS(cols) {
    double total = 0.0;
    for (i64 i = 0; i < rows; i++) {
      double v = x[i * xs + at];
      if (stat) v *= (double)((y[i * ys + at] - stat[i * ss]) * stat[i * ss + 1]);
      else if (y) v *= (double)y[i * ys + at];
      total += v;
    }
    sum[at] += (float)total;
  }
}

// team_sum adds up the values of a block's threads by halves.
INLINE double team_sum(double x, double *room) {
  int t = threadIdx.x;
  __syncthreads();
  room[t] = x;
  __syncthreads();
  for (int h = TEAM / 2; h > 0; h /= 2) {
    if (t < h) room[t] += room[t + h];
    __syncthreads();
  }
  return room[0];
}

INLINE float team_max(float x, float *room) {
  int t = threadIdx.x;
  __syncthreads();
  room[t] = x;
  __syncthreads();
  for (int h = TEAM / 2; h > 0; h /= 2) {
    if (t < h && !(room[t + h] <= room[t])) room[t] = room[t + h];
    __syncthreads();
  }
  return room[0];
}

#define NO_SCORE (-3.402823466e+38f)

KERNEL b_norm_fwd(float *y, i64 ys, float *stat, i64 ss, const float *x, i64 xs, const void *gamma, i64 gamma_dtype, const void *beta, i64 beta_dtype, i64 rows, i64 cols, float eps, i64 layer) {
  __shared__ double room[TEAM];
  for (i64 row = blockIdx.x; row < rows; row += gridDim.x) {
    const float *p = x + row * xs;
    double sum = 0.0, squares = 0.0;
    for (i64 j = threadIdx.x; j < cols; j += TEAM) { double v = p[j]; sum += v; squares += v * v; }
    double mean = 0.0;
    if (layer) {
      mean = team_sum(sum, room) / (double)cols;
      squares = 0.0;
      for (i64 j = threadIdx.x; j < cols; j += TEAM) { double d = (double)p[j] - mean; squares += d * d; }
    }
    float rstd = (float)(1.0 / root64(team_sum(squares, room) / (double)cols + (double)eps)), m = (float)mean;
    if (threadIdx.x == 0) { stat[row * ss] = m; stat[row * ss + 1] = rstd; }
    for (i64 j = threadIdx.x; j < cols; j += TEAM) {
      float v = ((p[j] - m) * rstd) * load(gamma, j, (int)gamma_dtype);
      if (beta) v = v + load(beta, j, (int)beta_dtype);
      y[row * ys + j] = v;
    }
  }
}

KERNEL b_norm_bwd(float *dx, i64 dxs, const float *dy, i64 dys, const float *x, i64 xs, const float *stat, i64 ss, const void *gamma, i64 dtype, i64 rows, i64 cols, i64 layer) {
  __shared__ double room[TEAM];
  for (i64 row = blockIdx.x; row < rows; row += gridDim.x) {
    const float *p = x + row * xs, *d = dy + row * dys;
    float mean = stat[row * ss], rstd = stat[row * ss + 1];
    double sg = 0.0, sgx = 0.0;
    for (i64 j = threadIdx.x; j < cols; j += TEAM) {
      double g = (double)d[j] * (double)load(gamma, j, (int)dtype);
      sg += g;
      sgx += g * (double)((p[j] - mean) * rstd);
    }
    float mgx = (float)(team_sum(sgx, room) / (double)cols);
    float mg = layer ? (float)(team_sum(sg, room) / (double)cols) : 0.0f;
    for (i64 j = threadIdx.x; j < cols; j += TEAM) {
      float xh = (p[j] - mean) * rstd, g = d[j] * load(gamma, j, (int)dtype) - mg;
      dx[row * dxs + j] += rstd * (g - xh * mgx);
    }
  }
}

// The row sums of squares of a matrix, one block each.
KERNEL b_row_squares(double *out, const void *x, i64 xs, i64 dtype, i64 rows, i64 cols, i64 transposed) {
  __shared__ double room[TEAM];
  for (i64 row = blockIdx.x; row < rows; row += gridDim.x) {
    double sum = 0.0;
    for (i64 j = threadIdx.x; j < cols; j += TEAM) {
      double v = load(x, transposed ? j * xs + row : row * xs + j, (int)dtype);
      sum += v * v;
    }
    sum = team_sum(sum, room);
    if (threadIdx.x == 0) out[row] = sum;
  }
}

// row_norms is the sum that package cpu writes down.
KERNEL row_norms(float *norm, const double *squares, const float *wa, i64 was, const float *aa, i64 aas, const float *bt, i64 bts, i64 n, i64 r, float factor) {
  for ELEMENTS(n) {
    double cross = 0.0, own = 0.0, s = factor;
    for (i64 k = 0; k < r; k++) {
      double x = bt[k * bts + at];
      cross += x * (double)wa[at * was + k];
      for (i64 l = 0; l < r; l++) own += (x * (double)bt[l * bts + at]) * (double)aa[k * aas + l];
    }
    double sum = squares[at] + 2.0 * s * cross + s * s * own;
    norm[at] = (float)root64(sum > 0.0 ? sum : 0.0);
  }
}

INLINE float dot(const float *x, const float *y, i64 n) {
  double s = 0.0;
  for (i64 i = 0; i < n; i++) s += (double)x[i] * (double)y[i];
  return (float)s;
}

// Attention. A block has one query and head; range holds for each query the
// first key row that it sees and the one after the last, -1 where there is
// none. Scores are computed TEAM at a time and never stored.
KERNEL b_attn_fwd(float *o, i64 os, float *stat, i64 ss, const float *q, i64 qs, const float *k, i64 ks, const float *v, i64 vs, const int *range, i64 rows, i64 heads, i64 kv_heads, i64 dim, float factor) {
  __shared__ double room[TEAM];
  __shared__ float top_room[TEAM], chunk[TEAM];
  for (i64 at = blockIdx.x; at < rows * heads; at += gridDim.x) {
    i64 row = at / heads, head = at % heads, kv = head / (heads / kv_heads);
    int lo = range[2 * row], hi = range[2 * row + 1];
    if (lo < 0) continue;
    const float *qr = q + row * qs + head * dim, *kh = k + kv * dim, *vh = v + kv * dim;
    float top = NO_SCORE;
    for (i64 j = lo + threadIdx.x; j < hi; j += TEAM) {
      float s = dot(qr, kh + j * ks, dim) * factor;
      if (!(s <= top)) top = s;
    }
    top = team_max(top, top_room);
    double sum = 0.0;
    for (i64 j = lo + threadIdx.x; j < hi; j += TEAM) sum += (double)exp_of(dot(qr, kh + j * ks, dim) * factor - top);
    float total = (float)team_sum(sum, room);
    if (threadIdx.x == 0) { stat[row * ss + 2 * head] = top; stat[row * ss + 2 * head + 1] = total; }
    for (i64 d0 = 0; d0 < dim; d0 += TEAM) {
      i64 d = d0 + threadIdx.x;
      double out = 0.0;
      for (i64 from = lo; from < hi; from += TEAM) {
        i64 j = from + threadIdx.x;
        __syncthreads();
        chunk[threadIdx.x] = j < hi ? exp_of(dot(qr, kh + j * ks, dim) * factor - top) * (1.0f / total) : 0.0f;
        __syncthreads();
        i64 n = hi - from < TEAM ? hi - from : TEAM;
        if (d < dim) for (i64 i = 0; i < n; i++) out += (double)chunk[i] * (double)vh[(from + i) * vs + d];
      }
      if (d < dim) o[row * os + head * dim + d] = (float)out;
    }
  }
}

// The gradient of the scores of one query and key: dS = P (dP - D) scale.
INLINE float score_grad(const float *q, const float *k, const float *v, const float *dout, i64 dim, float factor, float top, float total, float delta, float *p) {
  *p = exp_of(dot(q, k, dim) * factor - top) * (1.0f / total);
  return (*p * (dot(dout, v, dim) - delta)) * factor;
}

// b_attn_dq: a block has one query and head.
KERNEL b_attn_dq(float *dq, i64 dqs, const float *dout, i64 dos, const float *o, i64 os, const float *stat, i64 ss, const float *q, i64 qs, const float *k, i64 ks, const float *v, i64 vs, const int *range, i64 rows, i64 heads, i64 kv_heads, i64 dim, float factor) {
  __shared__ float chunk[TEAM];
  for (i64 at = blockIdx.x; at < rows * heads; at += gridDim.x) {
    i64 row = at / heads, head = at % heads, kv = head / (heads / kv_heads);
    int lo = range[2 * row], hi = range[2 * row + 1];
    if (lo < 0) continue;
    const float *qr = q + row * qs + head * dim, *dr = dout + row * dos + head * dim, *kh = k + kv * dim, *vh = v + kv * dim;
    float top = stat[row * ss + 2 * head], total = stat[row * ss + 2 * head + 1], p;
    float delta = dot(dr, o + row * os + head * dim, dim);
    for (i64 d0 = 0; d0 < dim; d0 += TEAM) {
      i64 d = d0 + threadIdx.x;
      double out = 0.0;
      for (i64 from = lo; from < hi; from += TEAM) {
        i64 j = from + threadIdx.x;
        __syncthreads();
        chunk[threadIdx.x] = j < hi ? score_grad(qr, kh + j * ks, vh + j * vs, dr, dim, factor, top, total, delta, &p) : 0.0f;
        __syncthreads();
        i64 n = hi - from < TEAM ? hi - from : TEAM;
        if (d < dim) for (i64 i = 0; i < n; i++) out += (double)chunk[i] * (double)kh[(from + i) * ks + d];
      }
      if (d < dim) dq[row * dqs + head * dim + d] = (float)out;
    }
  }
}

// b_attn_dkv: a block has one key and key head; range holds for each key the
// first query row that sees it and the one after the last.
KERNEL b_attn_dkv(float *dk, i64 dks, float *dv, i64 dvs, const float *dout, i64 dos, const float *o, i64 os, const float *stat, i64 ss, const float *q, i64 qs, const float *k, i64 ks, const float *v, i64 vs, const int *range, i64 rows, i64 heads, i64 kv_heads, i64 dim, float factor) {
  __shared__ float chunk[TEAM], grads[TEAM];
  i64 group = heads / kv_heads;
  for (i64 at = blockIdx.x; at < rows * kv_heads; at += gridDim.x) {
    i64 row = at / kv_heads, kv = at % kv_heads;
    int lo = range[2 * row], hi = range[2 * row + 1];
    if (lo < 0) continue;
    const float *kr = k + row * ks + kv * dim, *vr = v + row * vs + kv * dim;
    for (i64 d0 = 0; d0 < dim; d0 += TEAM) {
      i64 d = d0 + threadIdx.x;
      double outk = 0.0, outv = 0.0;
      for (i64 head = kv * group; head < (kv + 1) * group; head++) {
        for (i64 from = lo; from < hi; from += TEAM) {
          i64 i = from + threadIdx.x;
          float p = 0.0f, g = 0.0f;
          if (i < hi) {
            const float *dr = dout + i * dos + head * dim;
            float delta = dot(dr, o + i * os + head * dim, dim);
            g = score_grad(q + i * qs + head * dim, kr, vr, dr, dim, factor, stat[i * ss + 2 * head], stat[i * ss + 2 * head + 1], delta, &p);
          }
          __syncthreads();
          chunk[threadIdx.x] = p;
          grads[threadIdx.x] = g;
          __syncthreads();
          i64 n = hi - from < TEAM ? hi - from : TEAM;
          if (d < dim) for (i64 t = 0; t < n; t++) {
            outv += (double)chunk[t] * (double)dout[(from + t) * dos + head * dim + d];
            outk += (double)grads[t] * (double)q[(from + t) * qs + head * dim + d];
          }
        }
      }
      if (d < dim) { dk[row * dks + kv * dim + d] = (float)outk; dv[row * dvs + kv * dim + d] = (float)outv; }
    }
  }
}

// A block has one row of logits.
KERNEL b_cross_entropy(float *loss, i64 ls, float *logits, i64 xs, const int *targets, i64 rows, i64 cols, float factor, float smoothing, i64 grad) {
  __shared__ double room[TEAM];
  __shared__ float top_room[TEAM];
  for (i64 row = blockIdx.x; row < rows; row += gridDim.x) {
    float *x = logits + row * xs;
    i64 target = targets[row];
    if (target < 0) {
      if (threadIdx.x == 0) loss[row * ls] = 0.0f;
      if (grad) for (i64 j = threadIdx.x; j < cols; j += TEAM) x[j] = 0.0f;
      continue;
    }
    float top = NO_SCORE;
    double total = 0.0;
    for (i64 j = threadIdx.x; j < cols; j += TEAM) {
      if (!(x[j] <= top)) top = x[j];
      total += (double)x[j];
    }
    top = team_max(top, top_room);
    double mean = smoothing != 0.0f ? team_sum(total, room) / (double)cols : 0.0, hit = x[target], e = smoothing;
    double sum = 0.0;
    for (i64 j = threadIdx.x; j < cols; j += TEAM) sum += (double)exp_of(x[j] - top);
    float all = (float)team_sum(sum, room);
    if (threadIdx.x == 0) loss[row * ls] = (float)((double)top + (double)log2_of(all) * 0.6931471805599453 - (1.0 - e) * hit - e * mean);
    if (!grad) continue;
    float each = (float)((double)factor * e / (double)cols), share = factor / all;
    for (i64 j = threadIdx.x; j < cols; j += TEAM) {
      float g = exp_of(x[j] - top) * share - each;
      if (j == target) g = g - factor * (1.0f - smoothing);
      x[j] = g;
    }
  }
}

KERNEL adamw(float *p, i64 ps, const float *g, i64 gs, float *m, i64 ms, float *v, i64 vs, i64 rows, i64 cols, float keep, float grad, float beta1, float beta2, float rest2, float root2, float eps, float step) {
  for ELEMENTS(rows * cols) {
    i64 i = ROW(cols), j = COL(cols);
    float x = g[i * gs + j] * grad, *pm = m + i * ms + j, *pv = v + i * vs + j, *pp = p + i * ps + j;
    float nm = *pm + (x - *pm) * beta1, nv = *pv * beta2 + (rest2 * x) * x;
    *pm = nm;
    *pv = nv;
    float denom = root(nv) / root2 + eps;
    *pp = *pp * keep - step * (nm / denom);
  }
}

// b_gemm is C <- op(A) op(B) (+ C), for a machine without cuBLAS: blocks of
// 8 x 16 elements, a thread each.
#define GM 8
#define GN 16
#define GK 16
KERNEL b_gemm(float *c, i64 cs, const void *a, i64 as, i64 a_dtype, i64 ta, const void *b, i64 bs, i64 b_dtype, i64 tb, i64 m, i64 n, i64 k, i64 accumulate) {
  __shared__ float left[GM][GK], right[GK][GN];
  i64 tiles_n = (n + GN - 1) / GN, tiles = ((m + GM - 1) / GM) * tiles_n;
  int t = threadIdx.x, ti = t / GN, tj = t % GN;
  for (i64 tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    i64 i = tile / tiles_n * GM + ti, j = tile % tiles_n * GN + tj;
    float sum = 0.0f;
    for (i64 l0 = 0; l0 < k; l0 += GK) {
      __syncthreads();
      i64 l = l0 + tj, li = tile / tiles_n * GM + ti;
      left[ti][tj] = li < m && l < k ? load(a, ta ? l * as + li : li * as + l, (int)a_dtype) : 0.0f;
      for (int r = ti; r < GK; r += GM) {
        i64 rl = l0 + r;
        right[r][tj] = rl < k && j < n ? load(b, tb ? j * bs + rl : rl * bs + j, (int)b_dtype) : 0.0f;
      }
      __syncthreads();
      for (int r = 0; r < GK; r++) sum += left[ti][r] * right[r][tj];
    }
    if (i < m && j < n) c[i * cs + j] = accumulate ? c[i * cs + j] + sum : sum;
  }
}

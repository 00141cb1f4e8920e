/* The best dense design of a grid, factored by hand: what does not depend on the tokens is computed once per shape.
   Every candidate is still scored and checked against the budget. Twice: plainly, and tuned to this processor. */
#include <math.h>
#include <stdint.h>

enum { WIDTH = 8 }; /* shapes scanned together: as many independent maxima, so that no step waits for the one before */

static const float LOW = -1e30f; /* -ffast-math assumes that infinities do not occur */
static const float DATA = 5.39801689f;

static inline void scan(int tokens, const float *restrict T, const float *restrict gain, const float *restrict base,
                        const float *restrict knee, const float *restrict cap, float *restrict best) {
  float b[WIDTH], k[WIDTH], c[WIDTH], m[WIDTH];
  for (int i = 0; i < WIDTH; i++) b[i] = base[i], k[i] = knee[i], c[i] = cap[i], m[i] = LOW;
  for (int t = 0; t < tokens; t++) {
#pragma GCC unroll 8
    for (int i = 0; i < WIDTH; i++) {
      float score = b[i] + fminf(gain[t], k[i]);
      m[i] = fmaxf(m[i], T[t] <= c[i] ? score : LOW);
    }
  }
  for (int i = 0; i < WIDTH; i++) best[i] = m[i];
}

/* Writes the shape's row-major index over (N, h, d), or -1 if no candidate is within the budget. */
void best(int nN, const float *N, int nh, const float *h, int nd, const float *d, int nT, const float *T, float budget,
          int64_t *found) {
  const int padded = (nd + WIDTH - 1) / WIDTH * WIDTH;
  float top = LOW, gain[nT], ffn[padded], log_ffn[padded];
  int64_t at = -1;
  for (int t = 0; t < nT; t++) gain[t] = DATA * logf(T[t] * 1e-12f);
  for (int i = 0; i < padded; i++) ffn[i] = d[i < nd ? i : nd - 1];
  for (int i = 0; i < padded; i++) log_ffn[i] = logf(ffn[i]);

#pragma omp parallel
  {
    float my_top = LOW, base[padded], knee[padded], cap[padded], m[WIDTH];
    int64_t my_at = -1;
#pragma omp for schedule(dynamic) collapse(2)
    for (int iN = 0; iN < nN; iN++)
      for (int ih = 0; ih < nh; ih++) {
        const float n = N[iN], w = h[ih];
        const float front = 13.95018192f * logf(n) + 0.23072027f * logf(w) + 9.195410648934768f;
        for (int i = 0; i < padded; i++) {
          float size = (w * 128 * 8 * 2 + 2 * w * w + 3 * w * ffn[i]) * n + 2 * 150000 * w;
          float z = (10 / ffn[i] + 20 / w) * n;
          base[i] = front - 0.48523402f * log_ffn[i] - 19.09368506f * z * z;
          knee[i] = DATA * logf(size * 1e-9f);
          cap[i] = budget / (6 * size);
        }
        for (int i = 0; i < padded; i += WIDTH) {
          scan(nT, T, gain, base + i, knee + i, cap + i, m);
          for (int j = 0; j < WIDTH; j++)
            if (m[j] > my_top) my_top = m[j], my_at = ((int64_t)iN * nh + ih) * nd + i + j;
        }
      }
#pragma omp critical
    if (my_at >= 0 && (my_top > top || (my_top == top && my_at < at))) top = my_top, at = my_at;
  }
  *found = at;
}

/* The same as a plain loop nest: factored, but one shape and one running maximum at a time. */
void best_plain(int nN, const float *N, int nh, const float *h, int nd, const float *d, int nT, const float *T, float budget,
                int64_t *found) {
  float top = LOW, log_T[nT];
  int64_t at = -1;
  for (int t = 0; t < nT; t++) log_T[t] = logf(T[t] * 1e-12f);

#pragma omp parallel for schedule(dynamic)
  for (int iN = 0; iN < nN; iN++) {
    float my_top = LOW;
    int64_t my_at = -1;
    for (int ih = 0; ih < nh; ih++)
      for (int id = 0; id < nd; id++) {
        const float n = N[iN], w = h[ih], f = d[id];
        const float size = (w * 128 * 8 * 2 + 2 * w * w + 3 * w * f) * n + 2 * 150000 * w, z = (10 / f + 20 / w) * n;
        const float base = 13.95018192f * logf(n) + 0.23072027f * logf(w) - 0.48523402f * logf(f) - 19.09368506f * z * z;
        const float log_size = logf(size * 1e-9f), flops_per_token = 6 * size;
        float m = LOW;
        for (int t = 0; t < nT; t++) {
          float score = base + DATA * fminf(log_T[t], log_size);
          m = fmaxf(m, T[t] * flops_per_token <= budget ? score : LOW);
        }
        if (m > my_top) my_top = m, my_at = ((int64_t)iN * nh + ih) * nd + id;
      }
#pragma omp critical
    if (my_at >= 0 && (my_top > top || (my_top == top && my_at < at))) top = my_top, at = my_at;
  }
  *found = at;
}

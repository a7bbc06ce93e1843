package cpu

import (
	"fmt"
	"math"
	"testing"

	"github.com/loratool/loratool/train/internal/backend"
)

// attention64 is attention as it is written in the papers.
func attention64(q, k, v []float64, rows int, segments []backend.Segment, h backend.Heads) []float64 {
	out := make([]float64, rows*h.Q*h.Dim)
	for _, s := range segments {
		for i := range s.Queries {
			for head := range h.Q {
				at := ((s.Query+i)*h.Q + head) * h.Dim
				kv := head / (h.Q / h.KV)
				last := s.Keys - s.Queries + i
				first := 0
				if h.Window > 0 {
					first = max(0, last-h.Window+1)
				}
				sum := 0.0
				for j := first; j <= last; j++ {
					score, key := 0.0, ((s.Key+j)*h.KV+kv)*h.Dim
					for d := range h.Dim {
						score += q[at+d] * k[key+d]
					}
					e := math.Exp(score * float64(h.Scale))
					sum += e
					for d := range h.Dim {
						out[at+d] += e * v[key+d]
					}
				}
				for d := range h.Dim {
					out[at+d] /= sum
				}
			}
		}
	}
	return out
}

func TestAttention(t *testing.T) {
	two := []backend.Segment{{Query: 0, Queries: 5, Key: 0, Keys: 5}, {Query: 5, Queries: 8, Key: 5, Keys: 8}}
	long := []backend.Segment{{Query: 0, Queries: 70, Key: 0, Keys: 70}, {Query: 70, Queries: 1, Key: 70, Keys: 1}}
	for _, c := range []struct {
		name     string
		rows     int
		heads    backend.Heads
		segments []backend.Segment
	}{
		{"multi-head", 13, backend.Heads{Q: 3, KV: 3, Dim: 4, Scale: 0.5}, two},
		{"grouped", 13, backend.Heads{Q: 4, KV: 2, Dim: 6, Scale: 0.4}, two},
		{"window", 13, backend.Heads{Q: 2, KV: 1, Dim: 4, Scale: 0.5, Window: 3}, two},
		{"blocks", 71, backend.Heads{Q: 2, KV: 1, Dim: 2, Scale: 0.7}, long},
		{"blocks and window", 71, backend.Heads{Q: 1, KV: 1, Dim: 2, Scale: 0.7, Window: 9}, long},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(t)
			h := c.heads
			q, q64 := b.mat(c.rows, h.Q*h.Dim)
			k, k64 := b.mat(c.rows, h.KV*h.Dim)
			v, v64 := b.mat(c.rows, h.KV*h.Dim)
			seed, seed64 := b.mat(c.rows, h.Q*h.Dim)
			ref := func(in [][]float64) [][]float64 {
				return [][]float64{attention64(in[0], in[1], in[2], c.rows, c.segments, h)}
			}
			in := [][]float64{q64, k64, v64}
			o, stat := b.zeros(c.rows, h.Q*h.Dim), b.zeros(c.rows, 2*h.Q)
			b.b.AttnFwd(o, stat, q, k, v, c.segments, h)
			b.near("o", o, ref(in)[0], tolerance)
			want := gradients64(ref, in, [][]float64{seed64})
			dq, dk, dv := b.zeros(c.rows, h.Q*h.Dim), b.zeros(c.rows, h.KV*h.Dim), b.zeros(c.rows, h.KV*h.Dim)
			b.b.AttnBwd(dq, dk, dv, seed, o, stat, q, k, v, c.segments, h)
			for i, g := range []backend.Mat{dq, dk, dv} {
				b.near(fmt.Sprint("gradient ", i), g, want[i], tolerance)
			}
		})
	}
}

// Queries after a cache of keys see what they see in a whole pass.
func TestAttentionCache(t *testing.T) {
	b := newBed(t)
	h := backend.Heads{Q: 2, KV: 1, Dim: 4, Scale: 0.5}
	q, _ := b.mat(9, 8)
	k, _ := b.mat(9, 4)
	v, _ := b.mat(9, 4)
	whole, part, stat := b.zeros(9, 8), b.zeros(2, 8), b.zeros(9, 4)
	b.b.AttnFwd(whole, stat, q, k, v, []backend.Segment{{Query: 0, Queries: 9, Key: 0, Keys: 9}}, h)
	b.b.AttnFwd(part, stat.Top(2), q.View(7, 0, 2, 8), k, v, []backend.Segment{{Query: 0, Queries: 2, Key: 0, Keys: 9}}, h)
	want := make([]float32, 16)
	b.b.Read(want, whole.View(7, 0, 2, 8))
	wide := make([]float64, 16)
	for i, x := range want {
		wide[i] = float64(x)
	}
	b.near("last rows", part, wide, tolerance)
}

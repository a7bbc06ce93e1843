//go:build cuda

package cuda

import (
	"github.com/loratool/loratool/train/internal/backend"
)

// none marks a row that no segment has.
const none = -1

// queryRanges returns for each row of Q the first row of K that it sees and
// the one after the last.
func queryRanges(rows int, segments []backend.Segment, window int) []int32 {
	list := unset(rows)
	for _, s := range segments {
		before := s.Keys - s.Queries
		for i := range s.Queries {
			end := before + i + 1
			first := 0
			if window > 0 {
				first = max(0, end-window)
			}
			list[2*(s.Query+i)], list[2*(s.Query+i)+1] = int32(s.Key+first), int32(s.Key+end)
		}
	}
	return list
}

// keyRanges returns for each row of K the first row of Q that sees it and the
// one after the last.
func keyRanges(rows int, segments []backend.Segment, window int) []int32 {
	list := unset(rows)
	for _, s := range segments {
		before := s.Keys - s.Queries
		for j := range s.Keys {
			first, end := max(0, j-before), s.Queries
			if window > 0 {
				end = max(first, min(end, j-before+window))
			}
			list[2*(s.Key+j)], list[2*(s.Key+j)+1] = int32(s.Query+first), int32(s.Query+end)
		}
	}
	return list
}

func unset(rows int) []int32 {
	list := make([]int32, 2*rows)
	for i := range list {
		list[i] = none
	}
	return list
}

// AttnFwd computes attention.
func (b *Backend) AttnFwd(o, stat, q, k, v backend.Mat, s []backend.Segment, h backend.Heads) {
	out, statistics := writable(o), writable(stat)
	b.do(func() error {
		ranges, err := b.upload(queryRanges(q.Rows, s, h.Window))
		if err != nil {
			return err
		}
		return b.blocks("b_attn_fwd", q.Rows*h.Q, out, o.Stride, statistics, stat.Stride, values(q), q.Stride, values(k), k.Stride,
			values(v), v.Stride, ranges, q.Rows, h.Q, h.KV, h.Dim, h.Scale)
	})
}

// AttnBwd is the gradient of AttnFwd.
func (b *Backend) AttnBwd(dq, dk, dv, do, o, stat, q, k, v backend.Mat, s []backend.Segment, h backend.Heads) {
	toQ, toK, toV := writable(dq), writable(dk), writable(dv)
	b.do(func() error {
		ranges, err := b.upload(queryRanges(q.Rows, s, h.Window))
		if err != nil {
			return err
		}
		return b.blocks("b_attn_dq", q.Rows*h.Q, toQ, dq.Stride, values(do), do.Stride, values(o), o.Stride, values(stat), stat.Stride,
			values(q), q.Stride, values(k), k.Stride, values(v), v.Stride, ranges, q.Rows, h.Q, h.KV, h.Dim, h.Scale)
	})
	b.do(func() error {
		ranges, err := b.upload(keyRanges(k.Rows, s, h.Window))
		if err != nil {
			return err
		}
		return b.blocks("b_attn_dkv", k.Rows*h.KV, toK, dk.Stride, toV, dv.Stride, values(do), do.Stride, values(o), o.Stride,
			values(stat), stat.Stride, values(q), q.Stride, values(k), k.Stride, values(v), v.Stride, ranges, k.Rows, h.Q, h.KV, h.Dim, h.Scale)
	})
}

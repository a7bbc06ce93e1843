package linalg

import (
	"fmt"
	"testing"
)

func BenchmarkPack(b *testing.B) {
	for _, i := range fast() {
		mr, nr := shape[float32](i)
		for _, k := range []int{blockDepth, 3 * blockDepth} {
			const n = 1536
			m := random[float32](n, k, 1)
			dst := make([]float32, roundUp(n, mr)*k)
			b.Run(fmt.Sprintf("rows/%v/%d", i, k), func(b *testing.B) {
				benchmarkPack(b, n*k, func() { packRows(dst, i, m) })
			})
			b.Run(fmt.Sprintf("cols/%v/%d", i, k), func(b *testing.B) {
				benchmarkPack(b, n*k, func() { packCols(dst, nr, m) })
			})
			b.Run(fmt.Sprintf("transposed/%v/%d", i, k), func(b *testing.B) {
				benchmarkPack(b, n*k, func() { packCols(dst, nr, m.T()) })
			})
		}
	}
}

func benchmarkPack(b *testing.B, elements int, pack func()) {
	for b.Loop() {
		pack()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(elements), "ns/elem")
}

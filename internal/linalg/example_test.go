package linalg_test

import (
	"fmt"

	"github.com/loratool/loratool/internal/linalg"
)

func ExampleGemm() {
	a := linalg.Dense([]float32{
		1, 2,
		3, 4,
	}, 2, 2)
	b := linalg.Dense([]float32{
		5, 6, 7,
		8, 9, 10,
	}, 2, 3)
	c := linalg.Dense(make([]float32, 6), 2, 3)
	linalg.Gemm(c, a, b, false)
	fmt.Println(c.Data)
	linalg.Gemm(c, a.T(), b, true)
	fmt.Println(c.Data)
	// Output:
	// [21 24 27 47 54 61]
	// [50 57 64 89 102 115]
}

func ExamplePacked() {
	var b linalg.Packed[float64]
	b.Pack(linalg.Dense([]float64{1, 2, 3, 4}, 1, 4))
	c := linalg.Dense(make([]float64, 4), 2, 2)
	b.Mul(c, linalg.Dense([]float64{10, 100}, 2, 1), 1)
	fmt.Println(c.Data)
	// Output:
	// [20 30 200 300]
}

func ExampleSVD() {
	a := linalg.Dense([]float64{
		0, 3, 0,
		0, 0, 4,
	}, 2, 3)
	_, s, _ := linalg.SVD(a)
	fmt.Println(s)
	// Output:
	// [4 3]
}

func ExampleQR() {
	q := linalg.NewQR(linalg.Dense([]float64{3, 4}, 2, 1))
	c := linalg.Dense(make([]float64, 2), 2, 1)
	q.Mul(c, linalg.Dense([]float64{10}, 1, 1))
	fmt.Printf("%.0f %.0f\n", q.R().Data, c.Data)
	// Output:
	// [-5] [-6 -8]
}

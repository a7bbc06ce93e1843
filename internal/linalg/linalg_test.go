package linalg

import "math/rand/v2"

// available returns the implementations that this machine can run.
func available() []isa {
	var all []isa
	for i := generic; i <= best(); i++ {
		all = append(all, i)
	}
	return all
}

// random returns a matrix of normally distributed elements.
func random[T Float](rows, cols int, seed uint64) Mat[T] {
	r := rand.New(rand.NewPCG(seed, 0))
	m := Dense(make([]T, rows*cols), rows, cols)
	for i := range m.Data {
		m.Data[i] = T(r.NormFloat64())
	}
	return m
}

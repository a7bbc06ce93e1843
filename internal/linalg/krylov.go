package linalg

import (
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/mat"
)

// A Krylov finds the leading singular values and vectors of a Source X by
// block Krylov iteration with full orthogonalisation (Halko, Martinsson and
// Tropp 2011, section 4; Musco and Musco 2015, algorithm 2): each Grow adds to
// an orthonormal basis Q the block
//
//	X·orth(XᵀQ_last), or X·Ω for a random Ω at first,
//
// orthogonalised, and computes Z = QᵀX. The Ritz values θ are the singular
// values of Z, and θᵢ ≤ σᵢ. For every k the projection on the k leading Ritz
// vectors leaves
//
//	‖X − Q·W_k·W_kᵀ·Qᵀ·X‖² = ‖X‖² − Σ_{i≤k} θᵢ²,
//
// exactly, whatever the basis; so its error is known without another pass.
//
// The result depends on the matrix, the seed and the block size alone.
type Krylov struct {
	source     Source
	workers    int
	block      int
	random     *rand.Rand
	rows, cols int

	size   int       // vectors in the basis
	last   int       // of them, those of the last block
	q, z   []float32 // size×rows and size×cols: Qᵀ and Qᵀ·X, by rows
	gram   Mat[float64]
	values []float64 // θ², descending
	w      *mat.Dense
}

// NewKrylov returns an empty basis for x that grows by blocks of the given
// size. Seed and stream number the random numbers.
func NewKrylov(x Source, block, workers int, seed, stream uint64) *Krylov {
	k := &Krylov{source: x, workers: workers, block: block, random: rand.New(rand.NewPCG(seed, stream))}
	k.rows, k.cols = x.Dims()
	return k
}

// Size returns the size of the basis, the number of Ritz values.
func (k *Krylov) Size() int { return k.size }

// Complete reports whether the basis spans everything: the Ritz values are
// the singular values.
func (k *Krylov) Complete() bool { return k.size >= min(k.rows, k.cols) }

// Widen makes the next blocks half as large as the basis if that is more than
// their size, so that a large basis takes few of them.
func (k *Krylov) Widen() { k.block = max(k.block, k.size/2) }

// Squares returns the squares of the Ritz values, largest first. The slice is
// valid until the next Grow.
func (k *Krylov) Squares() []float64 { return k.values }

// Grow adds a block to the basis, or what is missing to complete it. An error
// is one of the source.
func (k *Krylov) Grow() error {
	b := min(k.block, min(k.rows, k.cols)-k.size)
	if b <= 0 {
		return nil
	}
	y := Dense(make([]float32, b*k.rows), b, k.rows)
	if err := LeftMulT(k.workers, y, k.start(b), k.source); err != nil {
		return err
	}
	basis := Dense(k.q, k.size, k.rows)
	for range 2 { // twice is enough (Kahan; Giraud et al. 2005)
		projectOut(y, basis)
		Orthonormalize(y)
	}
	z := Dense(make([]float32, b*k.cols), b, k.cols)
	if err := LeftMul(k.workers, z, y, k.source); err != nil {
		return err
	}
	k.q, k.z = append(k.q, y.Data...), append(k.z, z.Data...)
	k.extend(b, z)
	return nil
}

// start returns the rows to multiply by Xᵀ for the next block: those that the
// last block gives, and random ones where it has fewer.
func (k *Krylov) start(b int) Mat[float32] {
	p := Dense(make([]float32, b*k.cols), b, k.cols)
	from := len(k.z) - min(b, k.last)*k.cols
	n := copy(p.Data, k.z[from:])
	for i := range p.Data[n:] {
		p.Data[n+i] = bell(k.random.Uint64())
	}
	if n > 0 {
		Orthonormalize(p)
	}
	return p
}

// bell makes a number that is nearly normal, the centred sum of four uniform
// ones, from random bits. All of it is exact, so it is the same everywhere.
func bell(u uint64) float32 {
	sum := int(u&0xffff) + int(u>>16&0xffff) + int(u>>32&0xffff) + int(u>>48)
	return float32(sum-2*0xffff) / (1 << 15)
}

// extend computes the Ritz values after a block of b vectors was added.
func (k *Krylov) extend(b int, z Mat[float32]) {
	old := k.size
	k.size, k.last = k.size+b, b
	n := k.size
	g := Dense(make([]float64, n*n), n, n)
	for i := range old {
		copy(g.Data[i*n:], k.gram.Data[i*old:][:old])
	}
	edge := gramOf(z, Dense(k.z, n, k.cols))
	for i := range b {
		for j := range n {
			g.Data[(old+i)*n+j] = edge.Data[i*n+j]
			g.Data[j*n+old+i] = edge.Data[i*n+j]
		}
	}
	k.gram = g
	k.ritz()
}

// ritz solves the eigenvalue problem of Z·Zᵀ = W·θ²·Wᵀ.
func (k *Krylov) ritz() {
	n := k.size
	var eigen mat.EigenSym
	if !eigen.Factorize(mat.NewSymDense(n, append([]float64(nil), k.gram.Data...)), true) {
		panic("linalg: symmetric eigenvalues of finite numbers did not converge")
	}
	ascending := eigen.Values(nil)
	k.w = new(mat.Dense)
	eigen.VectorsTo(k.w)
	k.values = make([]float64, n)
	for i, v := range ascending {
		k.values[n-1-i] = max(0, v)
	}
}

// Vectors returns the r leading Ritz vectors: U, r×rows, orthonormal rows, and
// V = U·X, r×cols, whose rows have the norms θ and are nearly orthogonal. The
// projection of X is UᵀV. The sign of each pair makes the element of U of
// largest magnitude positive.
func (k *Krylov) Vectors(r int) (u, v Mat[float32]) {
	n := k.size
	wt := Dense(make([]float32, r*n), r, n)
	for i := range r {
		for j := range n {
			wt.Data[i*n+j] = float32(k.w.At(j, n-1-i))
		}
	}
	u, v = Dense(make([]float32, r*k.rows), r, k.rows), Dense(make([]float32, r*k.cols), r, k.cols)
	ParallelGemm(k.workers, u, wt, Dense(k.q, n, k.rows), false)
	ParallelGemm(k.workers, v, wt, Dense(k.z, n, k.cols), false)
	for i := range r {
		row := u.Data[i*k.rows:][:k.rows]
		if largest(row) < 0 {
			negate(row)
			negate(v.Data[i*k.cols:][:k.cols])
		}
	}
	return u, v
}

// largest returns the first element of largest magnitude.
func largest(x []float32) (most float32) {
	for _, v := range x {
		if math.Abs(float64(v)) > math.Abs(float64(most)) {
			most = v
		}
	}
	return most
}

func negate(x []float32) {
	for i := range x {
		x[i] = -x[i]
	}
}

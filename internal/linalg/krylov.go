package linalg

import (
	"math"
	"math/rand/v2"
	"slices"
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
// exactly, whatever the basis; so its error is known without another pass. Of a
// tall matrix the transpose is worked on, so that a basis of min(rows, cols)
// vectors spans everything.
//
// The result depends on the matrix, the seed and the block size alone.
type Krylov struct {
	Fine bool // set before Grow, lets it look for what small values add to the vectors of large ones

	source     Source
	workers    int
	block      int
	generator  *rand.Rand
	tall       bool // the matrix worked on is the transpose of the source
	rows, cols int  // of the matrix worked on: rows ≤ cols

	size    int       // vectors in the basis
	last    int       // of them, those of the last block
	doubted bool      // the last block may be rounding: see exhausted
	q, z    []float32 // size×rows and size×cols: Qᵀ and Qᵀ·X, by rows
	gram    Mat[float64]
	eigen   *Eigen
	values  []float64 // θ², descending
}

// NewKrylov returns an empty basis for x that grows by blocks of the given
// size. Seed and stream number the random numbers.
func NewKrylov(x Source, block, workers int, seed, stream uint64) *Krylov {
	k := &Krylov{source: x, workers: workers, block: block, generator: rand.New(rand.NewPCG(seed, stream))}
	k.rows, k.cols = x.Dims()
	if k.tall = k.rows > k.cols; k.tall {
		k.rows, k.cols = k.cols, k.rows
	}
	return k
}

// Dims returns the numbers of rows and columns of the matrix.
func (k *Krylov) Dims() (rows, cols int) { return k.source.Dims() }

// Size returns the size of the basis, the number of Ritz values.
func (k *Krylov) Size() int { return k.size }

// Complete reports whether the basis spans everything: the Ritz values are
// the singular values.
func (k *Krylov) Complete() bool { return k.size >= k.rows }

// Widen makes the next blocks half as large as the basis if that is more than
// their size, so that a large basis takes few of them.
func (k *Krylov) Widen() { k.block = max(k.block, k.size/2) }

// Squares returns the squares of the Ritz values, largest first. The slice is
// valid until the next Grow.
func (k *Krylov) Squares() []float64 { return k.values }

// Grow adds a block to the basis, or what is missing to complete it. An error
// is one of the source.
func (k *Krylov) Grow() error {
	b := min(k.block, k.rows-k.size)
	if b <= 0 {
		return nil
	}
	y := Dense(make([]float32, b*k.rows), b, k.rows)
	basis := Dense(k.q, k.size, k.rows)
	for _, from := range []func(b int) Mat[float32]{k.start, func(b int) Mat[float32] { return k.random(b, k.cols) }} {
		if err := k.forth(y, from(b)); err != nil {
			return err
		}
		before := sumSquares(y)
		projectOut(y, basis)
		if k.size == 0 || !k.exhausted(sumSquares(y)/before) {
			break // else the basis is invariant: a value of a multiplicity above the block, or the rank is reached
		}
	}
	Orthonormalize(y)
	k.separate(y, basis)
	z := Dense(make([]float32, b*k.cols), b, k.cols)
	if err := k.back(z, y); err != nil {
		return err
	}
	k.q, k.z = append(k.q, y.Data...), append(k.z, z.Data...)
	k.extend(b, z)
	return nil
}

// exhausted reports whether a new block, of whose square the share is outside of
// the basis, has no more than rounding there. Sums in float32 have relative
// errors of about 1e-7; those of long rows and large bases make shares of up to
// 5e-11. So does what values of 1e-5·σ₁ add to the vectors of σ₁, so a basis that
// is to be fine takes a block in doubt, but no two of them in a row.
func (k *Krylov) exhausted(share float64) bool {
	const rounding, most = 1e-13, 1e-10
	k.doubted = k.Fine && !k.doubted && share > rounding && share <= most
	return !k.doubted && !(share > most)
}

// separate makes the orthonormal rows of y orthogonal to the basis. Once is
// enough for rows that lie outside of it for the most part (Kahan; Giraud et
// al. 2005). What was exhausted has been completed by directions that may lie
// inside: random ones take their place.
func (k *Krylov) separate(y, basis Mat[float32]) {
	const most, lost = 0.01, 0.5 // of a row's square inside of the basis
	for range maxSeparations {
		inside := projectOut(y, basis)
		if Orthonormalize(y) && (len(inside) == 0 || slices.Max(inside) <= most) {
			return
		}
		for i, square := range inside {
			if square > lost {
				copy(y.Data[i*y.Cols:(i+1)*y.Cols], k.random(1, y.Cols).Data)
			}
		}
		projectOut(y, basis)
		Orthonormalize(y)
	}
}

// maxSeparations bounds the work on a degenerate block: each try leaves of what
// is inside of the basis the rounding only.
const maxSeparations = 8

// forth computes Y ← P·Xᵀ, back Z ← Q·X, for the matrix worked on.
func (k *Krylov) forth(y, p Mat[float32]) error {
	if k.tall {
		return LeftMul(k.workers, y, p, k.source)
	}
	return LeftMulT(k.workers, y, p, k.source)
}

func (k *Krylov) back(z, q Mat[float32]) error {
	if k.tall {
		return LeftMulT(k.workers, z, q, k.source)
	}
	return LeftMul(k.workers, z, q, k.source)
}

// random returns rows of random numbers.
func (k *Krylov) random(rows, cols int) Mat[float32] {
	p := Dense(make([]float32, rows*cols), rows, cols)
	for i := range p.Data {
		p.Data[i] = bell(k.generator.Uint64())
	}
	return p
}

// sumSquares adds the squares of a matrix, row by row, in float64.
func sumSquares(m Mat[float32]) (sum float64) {
	for i := range m.Rows {
		row := m.Data[i*m.RowStride:][:m.Cols]
		sum += Update32(row, row, row).W2
	}
	return sum
}

// start returns the rows to multiply by Xᵀ for the next block: those that the
// last block gives, and random ones where it has fewer.
func (k *Krylov) start(b int) Mat[float32] {
	p := k.random(b, k.cols)
	if n := copy(p.Data, k.z[len(k.z)-min(b, k.last)*k.cols:]); n > 0 {
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
	k.eigen = NewEigen(k.gram)
	k.values = make([]float64, k.size)
	for i, v := range k.eigen.Values() {
		k.values[i] = max(0, v)
	}
}

// Factors returns the projection of X on the r leading Ritz vectors as LᵀR, L
// r×rows and R r×cols. Row i of each has the norm √θᵢ; those of one are
// orthogonal, those of the other nearly so. The element of largest magnitude
// in a row of L is positive.
func (k *Krylov) Factors(r int) (left, right Mat[float32]) {
	return k.triplets(r, 0.5)
}

// Vectors returns the r leading Ritz vectors: U, r×rows, with rows of length
// 1, and V, r×cols, with rows of length θ: the projection of X is UᵀV. The
// signs are those of Factors.
func (k *Krylov) Vectors(r int) (u, v Mat[float32]) { return k.triplets(r, 0) }

// triplets returns factors whose rows have the norms θ^share and θ^(1−share).
func (k *Krylov) triplets(r int, share float64) (left, right Mat[float32]) {
	if k.tall {
		share = 1 - share
	}
	n := k.size
	wt := Dense(make([]float32, r*n), r, n)
	if r > 0 {
		for i, x := range k.eigen.Vectors(r).Data {
			wt.Data[i] = float32(x)
		}
	}
	left, right = Dense(make([]float32, r*k.rows), r, k.rows), Dense(make([]float32, r*k.cols), r, k.cols)
	ParallelGemm(k.workers, left, wt, Dense(k.q, n, k.rows), false)
	ParallelGemm(k.workers, right, wt, Dense(k.z, n, k.cols), false)
	for i := range r {
		factor := 1.0
		switch theta := math.Sqrt(k.values[i]); share {
		case 0.5:
			factor = math.Sqrt(theta) // Pow is not the same everywhere
		case 1:
			factor = theta
		}
		scaleRow(left, i, float32(factor))
		if factor > 0x1p-100 { // else both rows are nothing but rounding, and 1/factor may not fit
			scaleRow(right, i, float32(1/factor))
		}
	}
	if k.tall {
		left, right = right, left
	}
	for i := range r {
		if largest(left.Data[i*left.Cols:][:left.Cols]) < 0 {
			scaleRow(left, i, -1)
			scaleRow(right, i, -1)
		}
	}
	return left, right
}

func scaleRow(m Mat[float32], row int, by float32) {
	x := m.Data[row*m.Cols:][:m.Cols]
	for i := range x {
		x[i] *= by
	}
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

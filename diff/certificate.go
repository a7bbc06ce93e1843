package diff

import (
	"math"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/internal/linalg"
)

// A Certificate says how well the factors of a module carry its delta Δ. Error,
// Energy, Largest and Next are computed from the factors as they are written,
// rounded to their dtype, against the two checkpoints.
type Certificate struct {
	Module     string    `json:"module"`
	Tensor     string    `json:"tensor"`
	Kind       string    `json:"kind"`
	Shape      []int     `json:"shape"`
	Rank       int       `json:"rank"`
	FullRank   bool      `json:"full_rank,omitempty"`  // Δ has no low rank: the rule asks for more than MaxRank or for factors larger than Δ, or more is left than noise
	Stochastic bool      `json:"stochastic,omitempty"` // the noise is that of stochastic rounding; for the rule auto
	Relative   float64   `json:"relative"`             // ‖Δ‖/‖W‖
	Norm       float64   `json:"delta_norm"`           // ‖Δ‖
	Error      float64   `json:"error"`                // ‖Δ − s·B·A‖/‖Δ‖
	Energy     float64   `json:"energy"`               // 1 − error²
	NoiseFloor float64   `json:"noise_floor"`          // expected norm of the rounding noise in Δ, by ‖Δ‖
	NoiseEdge  float64   `json:"noise_edge"`           // the largest singular value expected of that noise and of float32
	StableRank float64   `json:"stable_rank"`          // ‖Δ‖²/σ₁²
	Largest    float64   `json:"sigma_1"`              // σ₁ of s·B·A
	Next       float64   `json:"sigma_next"`           // ‖Δ − s·B·A‖₂ on the directions found next, a lower bound of σ_{r+1} of Δ
	Spectrum   []float64 `json:"spectrum,omitempty"`   // leading singular values of Δ, lower bounds

	delta2, error2, base2, noise2 float64
}

// newCertificate fills in what the statistics of the delta say. A stack of
// experts is certified as a whole: norms add up, σ are the largest.
func newCertificate(tensor string, r role, shape []int) *Certificate {
	return &Certificate{Tensor: tensor, Module: r.name(), Kind: r.kind.String(), Shape: append([]int{}, shape...)}
}

func (r role) name() string {
	if r.param == "" {
		return r.path
	}
	return r.path + "." + r.param
}

// add accounts for one plane of the module.
func (c *Certificate) add(s stats, t *truncation, error2, next float64) {
	c.delta2, c.base2, c.noise2, c.error2 = c.delta2+s.delta2, c.base2+s.base2, c.noise2+s.noise2, c.error2+error2
	c.NoiseEdge, c.Next = max(c.NoiseEdge, s.edge), max(c.Next, next)
	c.FullRank, c.Stochastic = c.FullRank || t.full, c.Stochastic || t.stochastic
	if s := t.sigma(); len(c.Spectrum) == 0 || len(s) > 0 && s[0] > c.Spectrum[0] {
		c.Spectrum = s
	}
}

// finish computes the ratios once all planes are in; largest is σ₁ of s·B·A.
func (c *Certificate) finish(largest float64) {
	c.Norm, c.Relative = math.Sqrt(c.delta2), ratio(c.delta2, c.base2)
	c.Error, c.NoiseFloor, c.Largest = ratio(c.error2, c.delta2), ratio(c.noise2, c.delta2), largest
	c.Energy = 1 - float64(c.Error*c.Error)
	if largest > 0 {
		c.StableRank = c.delta2 / (largest * largest)
	}
}

// ratio returns √(x/y), 0 for a zero y.
func ratio(x, y float64) float64 {
	if y == 0 {
		return 0
	}
	return math.Sqrt(x / y)
}

// Size of the blocks in which a residual is computed: two of them fit in the
// second-level cache.
const residualRows, residualCols = 256, 1024

// residual returns ‖X − s·Lᵀ·R‖² for L r×rows, R r×cols and the scaling s, and
// the squared spectral norm of X − s·Lᵀ·R on the space of the probes, which are
// orthonormal rows of length cols.
func residual(workers int, x linalg.Source, s float64, left, right, probes linalg.Mat[float32]) (square, spectral float64, err error) {
	rows, cols := x.Dims()
	minus := linalg.Dense(make([]float32, left.Rows*rows), left.Rows, rows)
	for i := range left.Rows {
		for j := range rows {
			minus.Data[i*rows+j] = float32(-s * float64(left.Data[i*left.RowStride+j*left.ColStride]))
		}
	}
	image := linalg.Dense(make([]float32, probes.Rows*rows), probes.Rows, rows)
	sums := make([]float64, (rows+residualRows-1)/residualRows)
	err = linalg.Split(workers, rows, residualRows, func(buf *[]float32, row, n int) error {
		work := make([]float32, n*min(cols, residualCols))
		for col := 0; col < cols; col += residualCols {
			k := min(residualCols, cols-col)
			block, err := x.Block(buf, row, n, col, k)
			if err != nil {
				return err
			}
			e := linalg.Dense(work[:n*k], n, k)
			for i := range n {
				copy(e.Data[i*k:(i+1)*k], block.Data[i*block.RowStride:])
			}
			linalg.Gemm(e, minus.View(0, row, minus.Rows, n).T(), right.View(0, col, right.Rows, k), true)
			sums[row/residualRows] += linalg.Update32(e.Data, e.Data, e.Data).W2
			linalg.Gemm(image.View(0, row, image.Rows, n), probes.View(0, col, probes.Rows, k), e.T(), col > 0)
		}
		return nil
	})
	for _, s := range sums {
		square += s
	}
	return square, largestSquare(image), err
}

// largestSquare returns the largest squared singular value of a matrix of few
// rows.
func largestSquare(m linalg.Mat[float32]) float64 {
	if m.Rows == 0 {
		return 0
	}
	wide := linalg.Dense(make([]float64, m.Rows*m.Cols), m.Rows, m.Cols)
	for i, x := range m.Data {
		wide.Data[i] = float64(x)
	}
	return max(0, linalg.NewEigen(gram(wide)).Values()[0])
}

// written decodes the factors of expert e of a module and returns them as the
// left and right factors of the matrix as it is stored.
func written(m *adapter.Module, r role, e int) (left, right linalg.Mat[float32]) {
	a, b := make([]float32, m.A.Elements()), make([]float32, m.B.Elements())
	m.A.DType.Decode32(a, m.A.Bytes)
	m.B.DType.Decode32(b, m.B.Bytes)
	n, out := r.planes, m.B.Shape[0]
	in := len(a) / m.A.Shape[0]
	fa := linalg.Mat[float32]{Data: a[e*m.Rank*in:], Rows: m.Rank, Cols: in, RowStride: in, ColStride: 1}
	fb := linalg.Mat[float32]{Data: b[e:], Rows: m.Rank, Cols: out, RowStride: n, ColStride: m.Rank * n}
	if r.factorA() {
		return fa, fb
	}
	return fb, fa
}

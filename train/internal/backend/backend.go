// Package backend says what a device must be able to do so that package model
// can run and train a decoder on it: some 25 operations on matrices in its
// memory. It holds the interface and the types that cross it; the devices are
// packages of their own (cpu, cuda).
//
// Conventions that hold for every operation:
//   - Activations, gradients and trained values are float32. Weights of the
//     base stay in their own dtype (BF16, F16 or F32) and are only read.
//   - Operations are queued in order and have no result but the matrices they
//     write. One that fails makes Err report it; the caller asks once a step.
//   - Results do not depend on the number of threads: a sum that crosses rows
//     is added in an order that follows from the sizes alone.
//   - A caller's mistake in sizes panics.
package backend

import "github.com/loratool/loratool/format/dtype"

// A Backend is a device that runs and trains decoders.
type Backend interface {
	Memory
	Products
	Layers
	Rows
	Training
}

// Memory holds matrices on the device.
type Memory interface {
	// Alloc returns n float32 values, all 0.
	Alloc(n int) (Mem, error)
	// Frozen makes data, n values of a dtype, readable by the device. Data
	// must stay as it is until Free; a device with the host's memory reads it
	// in place.
	Frozen(d dtype.DType, data []byte) (Mem, error)
	// Free gives memory up; work that was queued may still use it.
	Free(Mem)
	// Write copies src to dst row by row; len(src) = dst.Rows·dst.Cols.
	Write(dst Mat, src []float32)
	// Read waits for the work that was queued and copies src to dst, decoded.
	Read(dst []float32, src Mat)
	// Err returns the first error of a queued operation.
	Err() error
}

// Products multiplies matrices.
type Products interface {
	// Gemm computes, for each product, C ← op(A)·op(B), or C ← C + op(A)·op(B)
	// with Add; op transposes if ta or TB says so. A is shared so that a
	// device can pack it once. A or B may be frozen, C must not overlap either.
	// What a product's Low says is added in the end.
	Gemm(a Mat, ta bool, products ...Product)
}

// A Product is one right-hand factor of Gemm and where the product goes.
type Product struct {
	C, B Mat
	TB   bool // B is used transposed
	Add  bool // add to C
	Low  *Low
}

// A Low is an update of low rank r, computed with a product so that C is
// written once:
//
//	U ← Scale·X·Aᵀ,  C ← C + U·V
//
// where X is op(A) of Gemm, m×k; A is r×k, U m×r and V r×n.
type Low struct {
	U, A, V Mat
	Scale   float32
}

// Layers are the parts of a decoder, forward and backward. Outputs named d…
// of Bwd operations are gradients; what is marked += is added to.
type Layers interface {
	// NormFwd normalises each row of x. RMS: y = x·rstd ⊙ gamma, with rstd =
	// 1/√(mean(x²)+eps). Layer: y = (x−mean)·rstd ⊙ gamma + beta, with the
	// biased variance. Stat is [rows, 2]: mean (0 for RMS) and rstd. Beta may
	// be empty.
	NormFwd(y, stat, x Mat, n Norm)
	// NormBwd adds to dx the gradient of NormFwd; dgamma and dbeta, where not
	// empty, += .
	NormBwd(dx, dgamma, dbeta, dy, x, stat Mat, n Norm)

	// Rope rotates the pairs (i, i+dim/2) of each head by the row's position:
	// x_i ← x_i·cos − x_j·sin, x_j ← x_j·cos + x_i·sin. Cos and sin are
	// [positions, dim/2]. Inverse rotates back, which is the gradient.
	Rope(x, cos, sin Mat, dim int, positions []int32, inverse bool)

	// AttnFwd computes O = softmax(scale·Q·Kᵀ)·V for every segment and head,
	// a query seeing the keys up to its own position. Stat is [rows, 2·heads]:
	// for each query and head the largest score and the sum of exponentials.
	AttnFwd(o, stat, q, k, v Mat, s []Segment, h Heads)
	// AttnBwd writes dq, dk and dv, all of whose rows lie in segments.
	AttnBwd(dq, dk, dv, do, o, stat, q, k, v Mat, s []Segment, h Heads)

	// SwiGLUFwd computes h = g·σ(g)·u; SwiGLUBwd turns g and u into dg and du
	// in place, given dh.
	SwiGLUFwd(h, g, u Mat)
	SwiGLUBwd(g, u, dh Mat)
	// GELUFwd computes y = x/2·(1+tanh(√(2/π)(x+0.044715x³))); GELUBwd turns
	// dy into dx in place.
	GELUFwd(y, x Mat)
	GELUBwd(dy, x Mat)

	// Dropout computes y = x ⊙ mask/(1−p), or y += with add. The mask follows
	// from the key and the index of the element alone; see Philox.
	Dropout(y, x Mat, p float32, key Key, add bool)
}

// Rows works on rows and columns of matrices. A bias is a matrix of one row.
type Rows interface {
	Zero(x Mat)
	// Copy computes y ← x; x may be frozen.
	Copy(y, x Mat)
	// Add computes y ← y + alpha·x; Scale computes x ← alpha·x.
	Add(y, x Mat, alpha float32)
	Scale(x Mat, alpha float32)
	// AddBias adds the one row of bias to every row of y; bias may be frozen.
	AddBias(y, bias Mat)
	// BiasGrad adds to db the sum of the rows of dy.
	BiasGrad(db, dy Mat)
	// ScaleCols computes y_ij ← x_ij·s_j, ColDot adds Σ_i x_ij·y_ij to sum_j.
	ScaleCols(y, x, s Mat)
	ColDot(sum, x, y Mat)
	// RowNorms writes the Euclidean norm of row i of W + scale·(A·Bt)ᵀ to
	// norm_i, from W·Aᵀ: W is [n, in], frozen or not and stored [in, n] with
	// transposed, wa = W·Aᵀ is [n, r], aa = A·Aᵀ is [r, r], bt is [r, n].
	RowNorms(norm, w, wa, aa, bt Mat, transposed bool, scale float32)
	// Divide computes y_j ← x_j / z_j on matrices of one row.
	Divide(y, x, z Mat)
	// Gather writes row ids[i] of table, which may be frozen, to row i of y;
	// an id outside the table leaves the row alone. Scatter adds row i of dy to row
	// ids[i] of dtable, in ascending order of i.
	Gather(y, table Mat, ids []int32)
	Scatter(dtable, dy Mat, ids []int32)
	// Overwrite writes row ids[i] of src to row i of y where ids[i] ≥ 0.
	// OverwriteGrad adds those rows of dy to dsrc and then sets them to 0.
	Overwrite(y, src Mat, ids []int32)
	OverwriteGrad(dsrc, dy Mat, ids []int32)
}

// Training is the loss and the optimiser.
type Training interface {
	// CrossEntropy writes −log softmax(logits)_target to loss_i for each row
	// i, 0 where the target is negative, and with grad overwrites the logits
	// by the gradient of scale·Σ loss_i. Smoothing e makes the loss
	// (1−e)·nll + e·(mean of −log p over the vocabulary).
	CrossEntropy(loss, logits Mat, targets []int32, scale, smoothing float32, grad bool)
	// SumSq returns Σ x² in float64.
	SumSq(x Mat) float64
	// AdamW updates p, m and v from g as torch.optim.AdamW does.
	AdamW(p, g, m, v Mat, a Adam)
}

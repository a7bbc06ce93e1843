package record

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/zstd"
)

// A Writer writes a record from its first byte to its last.
type Writer struct {
	w    io.Writer
	hash hash.Hash
	at   int64
	zstd *zstd.Encoder
}

// NewWriter begins a record.
func NewWriter(w io.Writer) (*Writer, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedBetterCompression))
	if err != nil {
		return nil, err
	}
	r := &Writer{w: w, hash: sha256.New(), zstd: z}
	return r, r.write([]byte(magic))
}

func (w *Writer) write(b []byte) error {
	if _, err := w.w.Write(b); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	w.hash.Write(b)
	w.at += int64(len(b))
	return nil
}

// At returns where the next blob begins.
func (w *Writer) At() int64 { return w.at }

// Put writes a blob, or a part of one that goes on with the next call.
func (w *Writer) Put(b []byte) (Blob, error) {
	at := Blob{w.at, int64(len(b))}
	return at, w.write(b)
}

// PutCompressed writes a blob as one zstd frame.
func (w *Writer) PutCompressed(b []byte) (Blob, error) {
	return w.Put(w.zstd.EncodeAll(b, nil))
}

// PutSizes writes a blob of varints.
func (w *Writer) PutSizes(sizes []int) (Blob, error) {
	var b []byte
	for _, n := range sizes {
		b = binary.AppendUvarint(b, uint64(n))
	}
	return w.Put(b)
}

// Finish writes the head and the trailer.
func (w *Writer) Finish(h *Head) error {
	raw, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if len(raw) > MaxHead {
		return fmt.Errorf("head of the record has %d bytes, at most %d are allowed", len(raw), MaxHead)
	}
	b, err := w.PutCompressed(raw)
	if err != nil {
		return err
	}
	var t []byte
	for _, n := range []int64{b.At, b.Len, int64(len(raw))} {
		t = binary.LittleEndian.AppendUint64(t, uint64(n))
	}
	if err := w.write(t); err != nil {
		return err
	}
	return w.write(w.hash.Sum(nil))
}

package mmap

// A Buffer is memory outside the heap, for unbuffered writes.
type Buffer struct {
	Data  []byte
	whole []byte // what the system gave, with Data within; nil on systems without it
}

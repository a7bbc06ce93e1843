package rule

// recordRules are the rules of a reversible record, annex A of the
// specification.
var recordRules = []Rule{
	{"RC001", Fatal, "not a record", "A record begins with LORAREC and a version byte of 1.", "name the file that merge --record wrote"},
	{"RC002", Fatal, "record damaged", "A record ends with the SHA-256 of all bytes before.", "fetch the record again"},
	{"RC003", Fatal, "bad trailer", "The head lies between the blobs and the trailer.", ""},
	{"RC004", Fatal, "head is not strict JSON", "The head is a JSON object of the fields of annex A, without repeated keys.", ""},
	{"RC005", Fatal, "claims too much", "The head has at most 64 MiB, and no frame claims more than 16,384 times its size.", ""},
	{"RC006", Fatal, "bad field", "Every field of the head has a value that annex A allows.", ""},
	{"RC007", Fatal, "blob outside the record", "Every blob lies between the magic and the head.", ""},
	{"RC008", Fatal, "bad frame", "A compressed blob is one zstd frame of the size that the head says.", ""},
	{"RC009", Fatal, "bad block sizes", "The sizes of a tensor's blocks add up to its data.", ""},
	{"RC010", Fatal, "bad index", "A block holds one index for each element that has several preimages, and nothing else.", "the record and the checkpoint do not belong together"},
	{"RC011", Fatal, "not the merged checkpoint", "Every file of the merged checkpoint has the size and digest that the record says.", "name the checkpoint that was written together with this record, unchanged"},
	{"RC012", Fatal, "not the adapter", "The adapters are those that were merged, by digest and weight, in any order.", "name the adapters that were merged, with the weights of the merge"},
	{"RC013", Fatal, "no preimage", "Every merged element is what some value of the base becomes.", ""},
	{"RC014", Fatal, "restored file differs", "A restored file has the size and digest of the base's file.", ""},
	{"RC015", Fatal, "header does not fit", "The headers of the base in the record are headers of safetensors files of the sizes it says.", ""},
	{"RC016", Fatal, "tensor not recorded", "The record holds what is needed of every tensor that the merge changed, and nothing of others.", ""},
}

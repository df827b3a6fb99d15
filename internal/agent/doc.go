// Package agent is a SIP user agent on our own stack: it registers, calls, answers, sends and receives audio.
// It is the codec behind the test number and the engine of `liaison call` and `liaison agent`.
//
// It contains no audio encoder. What it sends is the programme, which is data prepared once per codec, or an
// echo of what came. What it receives it decodes only to measure and to write files.
package agent

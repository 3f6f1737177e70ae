//! Helpers of the black-box tests: start the tracer, start real peers, read what came out.

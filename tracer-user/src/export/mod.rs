//! Stage 7: findings and streams become metrics, text and JSON.

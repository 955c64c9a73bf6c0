//! What the snapshot keeps, shares and refuses.

//! What is declared of limits, and how often they were reached.

use super::*;

#[test]
fn a_loss_is_named_after_the_counter() {
    for limit in Limit::ALL {
        let cause = limit.loss_cause();
        assert_eq!(cause.strip_prefix("limit_"), Some(limit.label()));
        assert!(
            limit.counter().is_some() || !limit.hides_traffic(),
            "{limit:?}"
        );
    }
}

#[test]
fn hits_add_up() {
    let (mut all, mut some) = (LimitHits::default(), LimitHits::default());
    some.hit(Limit::Streams);
    some.add(Limit::StoryMoments, 0);
    for _ in 0..2 {
        all.take_from(&mut some.clone());
    }
    all.take_from(&mut some);
    assert_eq!(all.iter().collect::<Vec<_>>(), [(Limit::Streams, 3)]);
    assert_eq!(some.iter().count(), 0);
}

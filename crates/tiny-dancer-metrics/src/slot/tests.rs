use super::*;

#[test]
fn a_dead_threads_number_goes_to_the_next() {
    static POOL: Pool = Pool::new();
    for _ in 0..3 {
        let number = std::thread::spawn(|| POOL.claim().number()).join().unwrap();
        assert_eq!(number, 0);
    }
}

#[test]
fn two_claimed_numbers_differ() {
    static POOL: Pool = Pool::new();
    let claimed = [POOL.claim(), POOL.claim(), POOL.claim()];
    assert_eq!(claimed.each_ref().map(Slot::number), [0, 1, 2]);
    let [_, second, _] = claimed;
    assert_eq!(second.number(), 1);
}

#[test]
fn a_thread_keeps_its_number_while_it_lives() {
    let mine = Slot::current().number();
    let another = std::thread::spawn(|| (Slot::current().number(), Slot::current().number())).join().unwrap();
    assert_eq!(another.0, another.1);
    assert_ne!(another.0, mine);
    assert_eq!(Slot::current().number(), mine);
}

#[test]
fn a_thread_that_is_torn_down_gets_a_number_for_the_moment() {
    use std::cell::RefCell;
    use std::sync::mpsc::{Sender, channel};

    struct LastWord(Sender<usize>);
    impl Drop for LastWord {
        fn drop(&mut self) {
            self.0.send(Slot::current().number()).unwrap();
        }
    }
    thread_local! {
        static LAST: RefCell<Option<LastWord>> = const { RefCell::new(None) };
    }
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        // Made first, destroyed last: by then the thread's number is gone.
        LAST.with_borrow_mut(|last| *last = Some(LastWord(sender)));
        Slot::current();
    })
    .join()
    .unwrap();
    receiver.recv().unwrap();
}

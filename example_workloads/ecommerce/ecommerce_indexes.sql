-- What the queries use, and the two triggers that keep the shelves filled. Made after the load.

CREATE INDEX products_category ON products (category, price DESC);
CREATE INDEX products_vendor ON products (vendor_id);
CREATE INDEX products_name_words ON products USING gin (to_tsvector('simple', name));
CREATE INDEX inventory_low ON inventory (product_id) WHERE quantity_available <= reorder_level;
CREATE INDEX purchase_orders_vendor ON purchase_orders (vendor_id, ordered_at DESC);
CREATE INDEX purchase_order_items_order ON purchase_order_items (po_id);
CREATE INDEX purchase_order_items_product ON purchase_order_items (product_id);
CREATE INDEX orders_user ON orders (user_id, ordered_at DESC);
CREATE INDEX orders_date ON orders (ordered_at DESC);
CREATE INDEX orders_pending ON orders (order_id) WHERE status = 'pending';
CREATE INDEX order_items_product ON order_items (product_id);
CREATE INDEX reviews_product ON reviews (product_id, created_at DESC);
CREATE INDEX reviews_user ON reviews (user_id);
CREATE INDEX reviews_date ON reviews (created_at DESC);
CREATE INDEX user_sessions_user ON user_sessions (user_id, started_at DESC);
CREATE INDEX product_analytics_product ON product_analytics (product_id, occurred_at);

-- No product is on order twice. The triggers see to it; this index proves it, and finds what can be received.
CREATE UNIQUE INDEX purchase_order_items_open ON purchase_order_items (product_id)
    WHERE quantity_received < quantity_ordered;
CREATE INDEX purchase_order_items_receivable ON purchase_order_items (po_item_id)
    WHERE quantity_received < quantity_ordered;

-- Before a product's stock is written: order more of it where it has run low and none is on its way. The row's lock
-- is held already, and whoever puts a product on order holds it, so that two cannot do so at once.
CREATE FUNCTION reorder() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    new_po   bigint;
    new_cost numeric(12, 2);
BEGIN
    PERFORM FROM purchase_order_items
      WHERE product_id = NEW.product_id AND quantity_received < quantity_ordered;
    IF FOUND THEN
        RETURN NEW;
    END IF;
    SELECT cost INTO STRICT new_cost FROM products WHERE product_id = NEW.product_id;
    INSERT INTO purchase_orders (vendor_id, status, ordered_at, expected_at)
      SELECT vendor_id, 'open', NEW.counted_at, NEW.counted_at + lead_time_days * interval '1 day'
        FROM vendors WHERE vendor_id = NEW.supplier_id
      RETURNING po_id INTO STRICT new_po;
    IF new_po % 20 = 0 THEN  -- one vendor in twenty asks 10, 20 or 30 % more than at first
        UPDATE products
          SET cost = round(list_cost * (1.1 + 0.1 * (new_po / 20 % 3)), 2),
              price = round(list_cost * (1.1 + 0.1 * (new_po / 20 % 3)) * (1 + margin), 2)
          WHERE product_id = NEW.product_id
          RETURNING cost INTO STRICT new_cost;
    END IF;
    INSERT INTO purchase_order_items (po_id, product_id, quantity_ordered, quantity_received, unit_cost)
      VALUES (new_po, NEW.product_id, greatest(NEW.max_stock_level - NEW.quantity_available, 10), 0, new_cost);
    RETURN NEW;
END
$$;

CREATE TRIGGER inventory_reorder BEFORE UPDATE ON inventory FOR EACH ROW
    WHEN (NEW.auto_reorder AND NEW.quantity_available <= NEW.reorder_level)
    EXECUTE FUNCTION reorder();

-- Before an item of a purchase order is marked received: put it on the shelf, and close an order that is complete.
-- Locks are taken in the order item, purchase order, inventory, product, by everybody.
CREATE FUNCTION receive() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM purchase_orders WHERE po_id = NEW.po_id FOR NO KEY UPDATE;
    UPDATE inventory
      SET quantity_available = quantity_available + NEW.quantity_received - OLD.quantity_received
      WHERE product_id = NEW.product_id;
    IF NEW.quantity_received = NEW.quantity_ordered THEN
        UPDATE purchase_orders SET status = 'received'
          WHERE po_id = NEW.po_id AND NOT EXISTS (
            SELECT FROM purchase_order_items other
              WHERE other.po_id = NEW.po_id AND other.po_item_id <> NEW.po_item_id
                AND other.quantity_received < other.quantity_ordered);
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER purchase_order_items_receive BEFORE UPDATE OF quantity_received ON purchase_order_items FOR EACH ROW
    WHEN (NEW.quantity_received > OLD.quantity_received)
    EXECUTE FUNCTION receive();

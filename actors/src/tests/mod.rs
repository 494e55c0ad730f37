//! Both roles together: what holds between a coordinator and its datanodes.

mod whole;
